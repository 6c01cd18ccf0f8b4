"""How deep the schema of a Parquet footer is nested, found before Arrow is asked to read it.

Arrow builds a schema by recursion and ends the process where the stack does; 50 kB are enough for that. Only so much of
Thrift's compact protocol is understood here as leads to the numbers of children, in some 0.3 ms for a row group:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Iterator

SCHEMA, CHILDREN = 2, 5
"""Numbers of fields: FileMetaData.schema and SchemaElement.num_children, in parquet.thrift."""

TRUE, FALSE, BYTE, I32, I64, DOUBLE, BINARY, LIST, SET, STRUCT = 1, 2, 3, 5, 6, 7, 8, 9, 10, 12


def nesting(footer: bytes) -> int:
    """Levels below the root, in a footer without its length and magic; ValueError where that makes no sense."""
    try:
        return _nesting(_Thrift(footer))
    except (IndexError, RecursionError) as error:
        raise ValueError("not a footer of Parquet") from error


def _nesting(thrift: _Thrift) -> int:
    deepest = 0
    for number, kind in thrift.fields():
        if (number, kind) != (SCHEMA, LIST):
            thrift.skip(kind)
            continue
        open_groups: list[int] = []  # how many children of each are still to come
        for _ in range(thrift.list_header()[0]):
            deepest = max(deepest, len(open_groups))
            if open_groups:
                open_groups[-1] -= 1
            open_groups.append(_children(thrift))
            while open_groups and open_groups[-1] <= 0:
                open_groups.pop()
    return deepest


def _children(thrift: _Thrift) -> int:
    children = 0
    for number, kind in thrift.fields():
        if (number, kind) == (CHILDREN, I32):
            children = thrift.integer()
        else:
            thrift.skip(kind)
    return children


class _Thrift:
    """Reads on from the start; IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each field of a struct; whoever asks reads or skips its value before the next one."""
        number = 0
        while header := self._byte():
            number = number + (header >> 4) if header >> 4 else self.integer()
            yield number, header & 15

    def list_header(self) -> tuple[int, int]:
        """How many there are, and their kind."""
        header = self._byte()
        return (header >> 4 if header >> 4 < 15 else self._varint()), header & 15

    def integer(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def skip(self, kind: int) -> None:
        """Passes over a field's value; a boolean's is its kind."""
        if kind not in (TRUE, FALSE):
            self._skip_value(kind)

    def _skip_value(self, kind: int) -> None:
        if kind in (TRUE, FALSE, BYTE):
            self._at += 1
        elif kind <= I64:
            self._varint()
        elif kind == DOUBLE:
            self._at += 8
        elif kind == BINARY:
            length = self._varint()
            self._at += length
        elif kind in (LIST, SET):
            count, inner = self.list_header()
            for _ in range(count):
                self._skip_value(inner)
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner)
        else:
            raise ValueError(f"Thrift's type {kind} is not in a footer of Parquet")
        if self._at > len(self._data):
            raise IndexError

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")
        return number | byte << shift
