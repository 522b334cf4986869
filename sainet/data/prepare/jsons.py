"""A large JSON object read piece by piece, so that memory does not grow with it, and errors have their line."""

import json
import re
from collections.abc import Iterator
from io import TextIOWrapper
from typing import IO, Any, NamedTuple

from sainet.errors import DataError

__all__ = ["Piece", "pieces"]

_AT_ONCE = 1 << 18
_BLANK = " \t\r\n"
_BLANKS = re.compile(rf"[{_BLANK}]*")
_decode = json.JSONDecoder().raw_decode


class Piece(NamedTuple):
    """A value of the object, or an element where the value is an array; `line` is where it begins, from 1."""

    key: str
    value: Any
    line: int


def pieces(stream: IO[bytes], where: str) -> Iterator[Piece]:
    """The values of the object in `stream`, arrays element by element.

    Raises `DataError` with `where` and the line for what is no JSON object.
    """
    yield from _Reader(stream, where).object()


class _Reader:
    """The text from some place on, and where in the file that is."""

    def __init__(self, stream: IO[bytes], where: str) -> None:
        self._stream = TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        self._where = where
        self._text, self._at, self._ended = "", 0, False
        self._line, self._counted = 1, 0

    def object(self) -> Iterator[Piece]:
        self._take("{")
        while self._next() != "}":
            key = self._value()
            if not isinstance(key, str):
                raise self._wrong("a key must be text")
            self._take(":")
            if self._next() == "[":
                yield from self._array(key)
            else:
                line = self.line()
                yield Piece(key, self._value(), line)
            if self._next() == ",":
                self._at += 1
        self._at += 1
        if self._next():
            raise self._wrong("something behind the end of the object")

    def line(self) -> int:
        """Of the present place."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _array(self, key: str) -> Iterator[Piece]:
        self._take("[")
        while self._next() != "]":
            line = self.line()
            yield Piece(key, self._value(), line)
            following = self._next()
            if following == ",":
                self._at += 1
            elif following != "]":
                raise self._wrong(f"expected a comma or the end of `{key}`")
        self._at += 1

    def _take(self, mark: str) -> None:
        if self._next() != mark:
            raise self._wrong(f"expected {mark!r}")
        self._at += 1

    def _next(self) -> str:
        """The next character that is no blank; '' at the end."""
        mark = self._text[self._at : self._at + 1]
        if mark and mark not in _BLANK:
            return mark
        while True:
            match = _BLANKS.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def _value(self) -> Any:
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Whatever is wrong far from the end of what was read is not mended by reading on.
                within = error.pos < len(self._text) - 64 and not error.msg.startswith("Unterminated")
                if within or not self._more():
                    self._at = error.pos
                    raise self._wrong(error.msg) from error
                continue
            # A number at the end of what was read may go on.
            if end < len(self._text) or not self._more():
                self._at = end
                return value

    def _more(self) -> bool:
        """Read on, and forget what is behind; False at the end of the file."""
        if self._ended:
            return False
        self.line()
        try:
            new = self._stream.read(max(_AT_ONCE, len(self._text) - self._at))  # doubled for what is larger
        except UnicodeDecodeError as error:
            raise DataError("not UTF-8", where=f"{self._where}:{self._line}") from error
        self._ended = not new
        self._text = self._text[self._at :] + new
        self._at = self._counted = 0
        return not self._ended

    def _wrong(self, message: str) -> DataError:
        cut = " (cut off?)" if self._ended and self._at >= len(self._text.rstrip()) else ""
        return DataError(
            f"no valid JSON: {message}{cut}", where=f"{self._where}:{self.line()}", hint="download the file again"
        )
