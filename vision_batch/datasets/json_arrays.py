"""The items of a JSON object's arrays, one after the other, so that a large file is never in memory as objects."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from json.decoder import JSONDecodeError
from typing import Any, BinaryIO, Final

READ_BYTES: Final = 1 << 20
MOST_ITEM_CHARACTERS: Final = 256 << 20
_ENDS: Final = frozenset(",]}:")
"""Of a value. Before one of them has been seen a number may go on."""
_SPACE: Final = re.compile(r"[ \t\n\r]*")


def json_arrays(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Each item of each array that is a value of the outermost object, with its key, in order of the file.

    Values that are no arrays are passed over. ValueError for what is no JSON object, for one that ends early, and for
    an item of more than 256 Mi characters.
    """
    text = _Text(stream)
    text.expect("{")
    if text.peek() == "}":
        return
    while True:
        key = text.value()
        text.expect(":")
        if text.peek() == "[":
            for item in _items(text):
                yield str(key), item
        else:
            text.value()
        if text.take() == "}":
            return
        text.demand(",")


def _items(text: _Text) -> Iterator[Any]:
    text.expect("[")
    if text.peek() == "]":
        text.take()
        return
    while True:
        yield text.value()
        if text.take() == "]":
            return
        text.demand(",")


class _Text:
    """A window of the text that moves forward."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._window = ""
        self._at = 0
        self._ended = False
        self._last = ""

    def peek(self) -> str:
        """The next character that is no space, which stays; empty at the end."""
        while True:
            self._at = _past_space(self._window, self._at)
            if self._at < len(self._window) or not self._more():
                return self._window[self._at : self._at + 1]

    def take(self) -> str:
        """The next character that is no space."""
        self._last = self.peek()
        self._at += 1
        return self._last

    def demand(self, character: str) -> None:
        """ValueError unless that was taken last."""
        if self._last != character:
            found = repr(self._last) if self._last else "the end"
            raise ValueError(f"no JSON object: found {found}, expected {character!r}")

    def expect(self, character: str) -> None:
        """Takes the next character, which has to be this one."""
        self.take()
        self.demand(character)

    def value(self) -> Any:
        """The next value as a whole."""
        while True:
            self.peek()
            try:
                value, end = _decode(self._window, self._at)
            except JSONDecodeError as error:
                if not self._more():
                    raise ValueError(f"no JSON object, or one that ends early: {error.msg}") from error
                continue
            behind = _past_space(self._window, end)
            if self._window[behind : behind + 1] in _ENDS or not self._more():
                self._at = end
                return value

    def _more(self) -> bool:
        """At least doubles what is left of the window, so that a long value is not begun too often."""
        self._window = self._window[self._at :]
        self._at = 0
        if len(self._window) > MOST_ITEM_CHARACTERS:
            raise ValueError(f"a value of more than {MOST_ITEM_CHARACTERS} characters")
        wanted = max(READ_BYTES, len(self._window))
        data = b"" if self._ended else self._stream.read(wanted)
        if self._ended:
            return False
        self._ended = not data
        self._window += self._decoder.decode(data, final=self._ended)
        return True


def _past_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "it matches nothing, too"
    return found.end()


_decode: Final = json.JSONDecoder().raw_decode
