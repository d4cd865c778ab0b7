"""The objects in a file, one after another with their exact bytes, in memory that does not grow with the file."""

import re
from collections.abc import Callable, Generator, Iterator
from typing import Final, NamedTuple

from ingest.errors import BrokenFile

OBJECT_BYTES: Final = 4 * 1024 * 1024
"""The longest object that is taken, as over HTTP."""

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR: Final = re.compile(rb'[^ \t\r\n",:\[\]{}]++')
_NO_BRACKET: Final = rb'[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"'


def _nested(levels: int) -> bytes:
    inner = rb"|" + _nested(levels - 1) if levels else b""
    return rb"[\[{](?:" + _NO_BRACKET + inner + rb")*+[\]}]"


# Everything up to the next bracket that stands in no string.
_RUN: Final = re.compile(rb"(?:" + _NO_BRACKET + rb")*+", re.DOTALL)
# A whole object that is not nested deeper than OCPI's are: one match in C, where counting brackets takes one each.
_SHALLOW: Final = re.compile(_nested(6), re.DOTALL)
_BOM: Final = b"\xef\xbb\xbf"
_OPEN: Final = b"{["
_LISTS: Final = frozenset({b'"data"', b'"items"'})


class Member(NamedTuple):
    """An object's place (bytes from the file's beginning, after decompression) and its bytes, which nobody has parsed."""

    offset: int
    body: bytes


def members(read: Callable[[], bytes], *, lines: bool = False) -> Iterator[Member]:
    """Yield the objects of a JSON array, of an OCPI envelope or page (`data`, `items`), of JSON lines, or the single one.

    `read` returns the next bytes, b"" at the end. With `lines` each line is one object, whatever it holds; without, a
    first object that ends with its line, followed by another, says so. Raises BrokenFile after the last readable one.
    """
    source = _Source(read)
    source.need(len(_BOM))
    if source.data.startswith(_BOM):
        source.at = len(_BOM)
    while (first := source.next_byte()) is not None:
        if lines:
            yield from _lines(source)
        elif first == b"[":
            yield from _array(source)
        elif first == b"{":
            whole = yield from _object(source)
            lines = whole and source.on_next_line() and source.next_byte() == b"{"
        else:
            raise BrokenFile("an array or an object should begin", source.offset)


class _Source:
    """A window on the file: `at` is where we are, `keep` (if set) from where on bytes are still wanted."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._base = 0
        self.data = b""
        self.at = 0
        self.keep: int | None = None

    @property
    def offset(self) -> int:
        return self._base + self.at

    def offset_of(self, at: int) -> int:
        return self._base + at

    def more(self) -> bool:
        """Read on, forgetting what is not wanted; False at the end of the file."""
        chunk = self._read()
        if not chunk:
            return False
        start = self.at if self.keep is None else self.keep
        if len(self.data) - start > OBJECT_BYTES:
            raise BrokenFile(f"an object is longer than {OBJECT_BYTES:,} bytes", self.offset_of(start))
        self.data = self.data[start:] + chunk
        self._base += start
        self.at -= start
        if self.keep is not None:
            self.keep = 0
        return True

    def need(self, count: int) -> None:
        while len(self.data) - self.at < count and self.more():
            pass

    def next_byte(self) -> bytes | None:
        """Skip white space; return the byte that follows without taking it, None at the end."""
        while True:
            self.at = _SPACE.match(self.data, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.data):
                return self.data[self.at : self.at + 1]
            if not self.more():
                return None

    def on_next_line(self) -> bool:
        """Whether only white space with a line's end stands before the next value."""
        before = self.offset
        self.keep = self.at
        self.next_byte()
        skipped = self.data[self.keep : self.at]
        self.keep = None
        return self.offset > before and b"\n" in skipped

    def value(self) -> tuple[int, int]:
        """Take one value; return where its bytes begin and end in `data`. A member of an object is not looked into."""
        outer, self.keep = self.keep, self.at if self.keep is None else self.keep
        shift = self.at - self.keep
        begin = self.offset
        if self.data[self.at] in _OPEN:
            self._container(begin)
        else:
            self._atom(begin)
        start = self.keep + shift
        if outer is None:
            self.keep = None
        return start, self.at

    def _container(self, begin: int) -> None:
        if shallow := _SHALLOW.match(self.data, self.at):
            self.at = shallow.end()
            return
        depth = 0
        while True:
            self.at = _RUN.match(self.data, self.at).end()  # type: ignore[union-attr]
            found = self.data[self.at : self.at + 1]
            if not found or found == b'"':  # the window ends, perhaps within a string
                if not self.more():
                    raise BrokenFile("the file ends inside an object", begin)
                continue
            depth += 1 if found in _OPEN else -1
            self.at += 1
            if depth == 0:
                return

    def _atom(self, begin: int) -> None:
        pattern = _STRING if self.data[self.at : self.at + 1] == b'"' else _SCALAR
        while True:
            match = pattern.match(self.data, self.at)
            if match is not None and (pattern is _STRING or match.end() < len(self.data)):
                break
            if match is None and pattern is _SCALAR:
                raise BrokenFile("a value is missing", begin)
            if not self.more():
                if match is None:
                    raise BrokenFile("the file ends inside a string", begin)
                break
        self.at = match.end()


def _array(source: _Source) -> Iterator[Member]:
    begin = source.offset
    source.at += 1
    found = source.next_byte()
    if found == b"]":
        source.at += 1
        return
    while True:
        if found is None:
            raise BrokenFile("the file ends inside an array that begins", begin)
        offset = source.offset
        start, end = source.value()
        yield Member(offset, source.data[start:end])
        found = source.next_byte()
        if found == b"]":
            source.at += 1
            return
        if found is not None and found != b",":
            raise BrokenFile("a comma or the array's end should stand", source.offset)
        source.at += found is not None
        found = source.next_byte()


def _object(source: _Source) -> Generator[Member, None, bool]:
    """Yield an envelope's objects, or the object itself; return whether it was itself one, on one line.

    An envelope is told by a `data` or `items` that holds a list (`data` also an object), where no `id` came before: so
    the list need not fit into memory.
    """
    begin = source.offset
    source.keep = source.at
    is_envelope, has_id = False, False
    source.at += 1
    while True:
        found = source.next_byte()
        if found == b"}":
            source.at += 1
            break
        if found == b",":
            source.at += 1
            continue
        if found != b'"':
            return (yield from _unreadable(source, begin, is_envelope))
        start, end = source.value()
        name = source.data[start:end]
        if source.next_byte() != b":":
            return (yield from _unreadable(source, begin, is_envelope))
        source.at += 1
        opening = source.next_byte()
        if opening is None or opening in b",:]}":
            return (yield from _unreadable(source, begin, is_envelope))
        has_id = has_id or name == b'"id"'
        if not has_id and name in _LISTS and opening == b"[":
            is_envelope, source.keep = True, None
            yield from _array(source)
        elif not has_id and name == b'"data"' and opening == b"{":
            is_envelope, source.keep = True, None
            offset = source.offset
            start, end = source.value()
            yield Member(offset, source.data[start:end])
        else:
            source.value()
    if is_envelope:
        return False
    body = source.data[source.keep : source.at]
    source.keep = None
    yield Member(begin, body)
    return b"\n" not in body


def _unreadable(source: _Source, begin: int, is_envelope: bool) -> Generator[Member, None, bool]:
    """An object that is no JSON is yielded as it is, by its brackets, for the dialect to refuse; an envelope ends the file."""
    if is_envelope or source.keep is None:
        raise BrokenFile("the envelope is no JSON", source.offset)
    source.at, source.keep = source.keep, None
    start, end = source.value()
    yield Member(begin, source.data[start:end])
    return False


def _lines(source: _Source) -> Iterator[Member]:
    while True:
        begin = source.offset
        end = source.data.find(b"\n", source.at)
        while end < 0:
            searched = len(source.data) - source.at
            if not source.more():
                end = len(source.data)
                break
            end = source.data.find(b"\n", source.at + searched)
        line = source.data[source.at : end].strip()
        ended = end == len(source.data)
        source.at = end + (not ended)
        if line:
            yield Member(begin, line)
        if ended:
            return
