"""The objects in a partner's page, each with its exact bytes, also where the page is not quite what OCPI says.

Source: OCPI 2.2.1 transport_and_format, Response format and GET; requirements 3.
"""

import hashlib
import io
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ingest.errors import BrokenFile
from ingest.splitter import members
from schemas.crawl import DIGEST_BYTES

SHOWN: Final = 60


class Listed(Struct, frozen=True):
    """What a body holds. `objects` is None where that cannot be told, and `fault` says why.

    `code` is the OCPI status code, None where there is none; `odd` are the rule and the sentence of what is not as it should be.
    """

    objects: Sequence[bytes | Raw] | None
    code: int | None = None
    fault: str = ""
    digest: bytes = b""
    odd: tuple[tuple[str, str], ...] = ()


class _Envelope(Struct):
    data: Raw | UnsetType = UNSET
    status_code: int | None = None


_envelope: Final = msgspec.json.Decoder(_Envelope)
_code: Final = msgspec.json.Decoder(_Envelope, strict=False)
_list: Final = msgspec.json.Decoder(list[Raw])
_object: Final = msgspec.json.Decoder(dict[str, Raw])


def listed(body: bytes) -> Listed:
    """Return what a body holds. One object that is no JSON does not spoil the others, an answer that is cut off is none at all."""
    try:
        envelope = _envelope.decode(body)
    except msgspec.ValidationError:
        return _other_form(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _by_brackets(body)
    return _of(envelope)


def _of(envelope: _Envelope) -> Listed:
    """Return the objects of an envelope that is JSON."""
    data, code = envelope.data, envelope.status_code
    if code is not None and not 1000 <= code < 2000:
        return Listed((), code)
    if data is UNSET or bytes(data) == b"null":
        if code is None:
            return Listed(None, fault="the answer is not in OCPI's envelope")
        return Listed((), code, odd=(("no_data", "the answer has no data"),))
    digest = hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
    odd = () if code is not None else (("no_status_code", "the answer has no status_code"),)
    try:
        return Listed(_list.decode(data), code, digest=digest, odd=odd)
    except msgspec.DecodeError:
        pass
    try:
        fields = _object.decode(data)
    except msgspec.DecodeError:
        return Listed(None, code, "data is neither a list nor an object")
    if "id" in fields or "uid" in fields:
        return Listed((data,), code, digest=digest, odd=(*odd, ("single_object", "data is an object where it should be a list")))
    lists = [value for value in fields.values() if bytes(value)[:1] == b"["]
    if len(lists) != 1:
        return Listed(None, code, "data is an object without a list in it")
    return Listed(_list.decode(lists[0]), code, digest=digest, odd=(*odd, ("list_in_object", "the list is within an object")))


def _other_form(body: bytes) -> Listed:
    """Return the objects of JSON that is no envelope as it should be."""
    try:
        objects = _list.decode(body)
    except msgspec.DecodeError:
        pass
    else:
        digest = hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()
        return Listed(objects, digest=digest, odd=(("no_envelope", "the answer is a list without OCPI's envelope"),))
    try:
        envelope = _code.decode(body)
    except msgspec.DecodeError:
        return Listed(None, fault=f"the answer is not in OCPI's envelope: {_shown(body)}")
    found = _of(envelope)
    return Listed(found.objects, found.code, found.fault, found.digest, (*found.odd, ("status_code_text", "status_code is a text")))


def _by_brackets(body: bytes) -> Listed:
    """Return the objects of a page that is no JSON because one of them is none."""
    file = io.BytesIO(body)
    try:
        found = list(members(lambda: file.read(1 << 20)))
    except BrokenFile as fault:
        return Listed(None, fault=f"the answer is no JSON, or cut off: {fault}; it begins with {_shown(body)}")
    if not found:
        return Listed(None, fault=f"the answer is no JSON: {_shown(body)}")
    # What stands around the objects must be a whole envelope: else what is missing could be most of the page.
    around = body[: found[0].offset] + body[found[-1].offset + len(found[-1].body) :]
    try:
        envelope = _code.decode(around)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Listed(None, fault=f"the answer is no JSON: {_shown(body)}")
    if envelope.status_code is None:
        return Listed(None, fault="the answer is not in OCPI's envelope")
    digest = hashlib.blake2b(b"\n".join([one.body for one in found]), digest_size=DIGEST_BYTES).digest()
    odd = (("broken_object", "an object of the page is no JSON"),)
    return Listed([one.body for one in found], envelope.status_code, digest=digest, odd=odd)


def _shown(body: bytes) -> str:
    return repr(body[:SHOWN].decode(errors="replace"))
