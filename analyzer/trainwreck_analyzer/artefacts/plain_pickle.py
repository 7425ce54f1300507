"""Reads a pickle that holds nothing but plain containers, numbers and text.

A pickle can call any function of any module; a dump from a stranger's run must not. So every opcode
that names a class or calls something is refused before anything is built, and so is a memo index
that no file of this size can need (one such opcode of five bytes makes a reader reserve gigabytes).
A pickle can also hold itself, or the same list twice, sixty times over: ``is_small`` tells.
"""

from __future__ import annotations

import io
import pickle
import pickletools

_REFUSED = frozenset({
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID",
    "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER",
})  # fmt: skip
_MEMO = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET"})


MOST_DEPTH = 64
_VALUES_PER_BYTE = 4
_FREE_VALUES = 1000


class NotPlain(ValueError):
    """The bytes are no pickle, or one that holds more than plain values. Says which."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def loads(data: bytes) -> object:
    """The value.

    Raises:
        NotPlain: See there.
    """
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in _REFUSED:
                raise NotPlain(f"it holds {opcode.name}, which can run code")
            if opcode.name in _MEMO and int(argument or 0) > len(data):
                raise NotPlain(f"its memo index {argument} is larger than the file")
        return _Plain(io.BytesIO(data)).load()
    except NotPlain:
        raise
    except (
        pickle.UnpicklingError, ValueError, EOFError, TypeError, KeyError, IndexError,
        AttributeError, OverflowError, MemoryError, RecursionError,
    ) as error:  # fmt: skip
        raise NotPlain(f"it is no readable pickle: {error}") from error


def is_small(value: object, size_bytes: int) -> bool:
    """Whether a value, written out in full, is not far larger or deeper than its file."""
    left = _VALUES_PER_BYTE * size_bytes + _FREE_VALUES
    level = [value]
    for _ in range(MOST_DEPTH):
        below: list[object] = []
        for part in level:
            if isinstance(part, dict):
                below += part.values()
                below += (key for key in part if isinstance(key, tuple))
            elif isinstance(part, list | tuple | set | frozenset):
                below += part
            if len(below) > left:
                return False
        if not below:
            return True
        left -= len(below)
        level = below
    return False
