"""A pickle read as data: a small stack machine over the opcodes that saved tensors need. Nothing is imported or run."""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any


class Refused(Exception):
    """The pickle wants something that plain data does not need. The message says what."""


class _Mark:
    pass


_MARK = _Mark()
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_LONGEST = 2**64  # of an integer; a number of a million digits takes minutes to show
_SKIPPED = frozenset(("PROTO", "FRAME"))


class Reading:
    """`known`: what a pickle may name, by "module name", and the function (or value) of ours that stands for it.

    `storage` turns a persistent id into what it stands for. Both may raise Refused.
    """

    def __init__(self, known: Mapping[str, Any], storage: Callable[[Any], Any]):
        self._known, self._storage = known, storage
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """What the pickle holds. Raises Refused; takes time and memory in proportion to `data`."""
        try:
            for opcode, argument, _ in pickletools.genops(data):
                if opcode.name == "STOP":
                    if len(self._stack) != 1:
                        raise Refused("the pickle ends with more than one object")
                    return self._pop()
                self._step(opcode.name, argument)
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise Refused(f"the pickle is damaged: {error}") from error
        raise Refused("the pickle has no end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            if isinstance(argument, int) and not -_LONGEST < argument < _LONGEST:
                raise Refused("an integer of more than 64 bits")
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _SKIPPED:
            pass
        else:
            handler = getattr(self, f"_{name.lower()}", None) if name in _HANDLED else None
            if handler is None:
                raise Refused(f"the opcode {name} is not taken")
            handler(argument)

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise Refused("the pickle is damaged: a mark in place of an object")
        return value

    def _to_mark(self) -> list[Any]:
        found = []
        while (value := self._stack.pop()) is not _MARK:
            found.append(value)
        return found[::-1]

    def _mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _global(self, name: str) -> None:
        if name not in self._known:
            shown = name[:80].replace(" ", ".")
            raise Refused(f"it names {shown!r}, which is no part of a state dict: nothing of it was run")
        self._stack.append(self._known[name])

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._global(f"{module} {name}")

    def _reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if not callable(function) or not isinstance(arguments, tuple) or len(arguments) > 16:
            raise Refused("it calls something that is no function of a state dict")
        self._stack.append(function(*arguments))

    def _build(self, _: Any) -> None:
        self._pop()  # attributes of the object (`_metadata` of a state dict): nothing here has any
        self._stack.append(self._pop())

    def _binpersid(self, _: Any) -> None:
        self._stack.append(self._storage(self._pop()))

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    _binput = _long_binput = _put
    _binget = _long_binget = _get

    def _empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def _empty_list(self, _: Any) -> None:
        self._stack.append([])

    def _empty_tuple(self, _: Any) -> None:
        self._stack.append(())

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._to_mark()))

    def _tuple1(self, _: Any) -> None:
        self._stack.append((self._pop(),))

    def _tuple2(self, _: Any) -> None:
        last, first = self._pop(), self._pop()
        self._stack.append((first, last))

    def _tuple3(self, _: Any) -> None:
        last, middle, first = self._pop(), self._pop(), self._pop()
        self._stack.append((first, middle, last))

    def _append(self, _: Any) -> None:
        value = self._pop()
        self._extend([value])

    def _appends(self, _: Any) -> None:
        self._extend(self._to_mark())

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise Refused("it appends to something that is no list")
        self._stack[-1].extend(values)

    def _setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._fill([key, value])

    def _setitems(self, _: Any) -> None:
        self._fill(self._to_mark())

    def _fill(self, flat: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(flat) % 2:
            raise Refused("it sets items of something that is no mapping")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            # Nested tuples as keys could take for ever to hash.
            if not isinstance(key, str | int | float | bool | None):
                raise Refused(f"a key of type {type(key).__name__}; keys are strings and numbers")
            target[key] = value


_HANDLED = {
    "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID", "APPEND", "APPENDS", "SETITEM", "SETITEMS",
    "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
    "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
}  # fmt: skip
