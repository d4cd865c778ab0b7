"""The pepper of token hashes and the operator's token: one file that only its owner can read."""

import base64
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from ingest.errors import UnsafeSecrets

FILE: Final = "secrets.json"


class Secrets(Struct, frozen=True):
    """What must stay in this house. It shows nothing of itself in a repr."""

    pepper: bytes
    operator_token: str

    def __repr__(self) -> str:
        return "Secrets(…)"

    def is_operator(self, token: str) -> bool:
        """Whether the text is the operator's token, in constant time."""
        return hmac.compare_digest(token.encode(errors="replace"), self.operator_token.encode())


def new() -> Secrets:
    """Return fresh secrets, kept nowhere."""
    return Secrets(pepper=secrets.token_bytes(32), operator_token=secrets.token_urlsafe(32))


def of_folder(folder: Path) -> Secrets:
    """Return the secrets of a data folder; creates them, once, where the folder has none.

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
        return Secrets(base64.b64decode(fields.pepper, validate=True), fields.operator_token)
    except ValueError:  # the text of the fault could quote the secret
        raise UnsafeSecrets(f"{path} is not a secrets file; restore it from a copy, because partners' tokens hang on it") from None


class _File(Struct, frozen=True):
    pepper: str
    operator_token: str


def _create(path: Path) -> None:
    """Write the file whole or not at all; a file that another process made first stays."""
    made = new()
    text = msgspec.json.format(msgspec.json.encode(_File(base64.b64encode(made.pepper).decode(), made.operator_token)))
    draft = path.with_name(f".{FILE}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # a rename would replace the secrets of a process that was faster
        except FileExistsError:
            return
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
