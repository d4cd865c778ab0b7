"""Avro values behind a five-byte header, so that a reader knows a schema it has not learned yet."""

from importlib import resources
from io import BytesIO
from typing import Any, Final

import fastavro
import msgspec

MAGIC: Final = b"\x00"
HEADER_BYTES: Final = 5

SCHEMAS: Final[dict[int, str]] = {
    1: "envelope.1.avsc",
    2: "rejected.1.avsc",
}
"""The schema numbers, each given once and never again; the files beside them are only ever added to."""


class Codec:
    """Encodes the fields of a value, and decodes them, by one schema of schemas/avro.

    The header is Kafka's registry form: a zero byte and the schema's number, big endian.
    """

    def __init__(self, number: int, refusal: type[ValueError]) -> None:
        text = resources.files("schemas").joinpath("avro", SCHEMAS[number]).read_bytes()
        self._schema = fastavro.parse_schema(msgspec.json.decode(text))
        self._header = MAGIC + number.to_bytes(4, "big")
        self._refusal = refusal

    def encode(self, fields: dict[str, Any]) -> bytes:
        """Return the bytes of a value, given as its fields (nested values as dicts); raises ValueError for what does not fit."""
        out = BytesIO()
        out.write(self._header)
        fastavro.schemaless_writer(out, self._schema, fields)
        return out.getvalue()

    def decode(self, value: bytes) -> dict[str, Any]:
        """Return the value's fields; raises the refusal, with one sentence, for whatever is not such a value."""
        if not value.startswith(self._header):
            raise self._refusal(self._misfit(value))
        source = BytesIO(value)
        source.seek(HEADER_BYTES)
        try:
            fields = fastavro.schemaless_reader(source, self._schema, None)
        except Exception as fault:  # garbage gives EOFError, IndexError, UnicodeDecodeError, OverflowError …
            raise self._refusal(f"{len(value)} bytes do not decode as {self._name}: {fault}") from fault
        if source.tell() != len(value):
            raise self._refusal(f"{len(value) - source.tell()} bytes follow the end of the {self._name}")
        return fields  # type: ignore[return-value]

    @property
    def _name(self) -> str:
        return str(self._schema["name"]).rpartition(".")[2].lower()  # type: ignore[index, call-overload]

    def _misfit(self, value: bytes) -> str:
        if len(value) < HEADER_BYTES:
            return f"{len(value)} bytes are too few for a record of the log"
        if value[:1] != MAGIC:
            return f"the record starts with byte 0x{value[0]:02x}, so it was not written by roamlog"
        number = int.from_bytes(value[1:HEADER_BYTES], "big")
        if number in SCHEMAS:
            return f"the record is of schema {number} ({SCHEMAS[number]}), not of the {self._name}'s"
        return f"schema {number} is not known to this release; is the record written by a newer roamlog?"
