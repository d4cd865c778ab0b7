"""The pepper of token hashes, the key of partners' tokens and the operator's token: one file that only its owner can read."""

import base64
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct
from msgspec.structs import replace

from ingest.errors import UnsafeSecrets

FILE: Final = "secrets.json"


class Secrets(Struct, frozen=True):
    """What must stay in this house. It shows nothing of itself in a repr."""

    pepper: bytes
    operator_token: str
    key: bytes = b""
    """What partners' tokens are encrypted with; b"" takes one that hangs on the pepper."""

    def __repr__(self) -> str:
        return "Secrets(…)"

    def is_operator(self, token: str) -> bool:
        """Whether the text is the operator's token, in constant time."""
        return hmac.compare_digest(token.encode(errors="replace"), self.operator_token.encode())


class Sealer:
    """Encrypts what a partner gave us to present to it (AES-256-GCM); a sealed text opens under the name that it was sealed for."""

    def __init__(self, pepper: bytes, key: bytes = b"") -> None:
        self._cipher = AESGCM(hashlib.sha256(key).digest() if key else hmac.digest(pepper, b"partners' tokens", hashlib.sha256))

    def seal(self, name: str, token: str) -> bytes:
        """Return the token, encrypted."""
        nonce = secrets.token_bytes(12)
        return nonce + self._cipher.encrypt(nonce, token.encode(), name.encode())

    def open(self, name: str, sealed: bytes) -> str:
        """Return the token; raises UnsafeSecrets where it was sealed with another key, or for another name."""
        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], name.encode()).decode()
        except (InvalidTag, ValueError):
            text = f"the token of partner {name} was encrypted with another key; put the old one back, or register the partner anew"
            raise UnsafeSecrets(text) from None


def new() -> Secrets:
    """Return fresh secrets, kept nowhere."""
    return Secrets(secrets.token_bytes(32), secrets.token_urlsafe(32), secrets.token_bytes(32))


def of_folder(folder: Path) -> Secrets:
    """Return the secrets of a data folder; creates them, once, where the folder has none, and the key where an older file has none.

    Raises UnsafeSecrets when the file is open to others, is not readable, or is not ours.
    """
    path = folder / FILE
    try:
        if not path.exists():
            _create(path)
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    except OSError as fault:
        raise UnsafeSecrets(f"{path} cannot be used: {fault.strerror}") from fault
    if mode & 0o077:
        raise UnsafeSecrets(
            f"{path} is open to others (mode {mode:04o}); run chmod 600 on it, and renew tokens if others had a look"
        )
    try:
        fields = msgspec.json.decode(text, type=_File)
        pepper, key = (base64.b64decode(field, validate=True) for field in (fields.pepper, fields.key))
    except ValueError:  # the text of the fault could quote the secret
        raise UnsafeSecrets(f"{path} is not a secrets file; restore it from a copy, because partners' tokens hang on it") from None
    found = Secrets(pepper, fields.operator_token, key)
    if key:
        return found
    found = replace(found, key=secrets.token_bytes(32))
    try:
        _write(path, found, replaces=True)  # the folder is held by this process, so nobody else makes another key
    except OSError as fault:
        raise UnsafeSecrets(f"{path} cannot be written: {fault.strerror}") from fault
    return found


class _File(Struct, frozen=True):
    pepper: str
    operator_token: str
    key: str = ""


def _create(path: Path) -> None:
    """Write the file whole or not at all; a file that another process made first stays."""
    _write(path, new(), replaces=False)


def _write(path: Path, made: Secrets, replaces: bool) -> None:
    pepper, key = (base64.b64encode(field).decode() for field in (made.pepper, made.key))
    text = msgspec.json.format(msgspec.json.encode(_File(pepper, made.operator_token, key)))
    draft = path.with_name(f".{FILE}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if replaces:
            draft.replace(path)
        else:
            try:
                os.link(draft, path)  # a rename would replace the secrets of a process that was faster
            except FileExistsError:
                return
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
