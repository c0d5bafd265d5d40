"""A pickle read as data: a small stack machine over the opcodes that plain data needs. Nothing is imported or run.

A class or function that the pickle names and that is not known here becomes `Skipped`, and so does what it would make.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Refused(Exception):
    """The pickle wants something that plain data does not need. The message says what."""


class Skipped(NamedTuple):
    """An object that was not made: the name of the class or function that would make it, and nothing else."""

    name: str


class _OddKey(NamedTuple):
    """Stands for a key of a mapping that is no string or number. Nested tuples could take for ever to hash or show."""

    number: int
    type: str

    def __str__(self) -> str:
        return f"a key of type {self.type}"


class _Mark:
    pass


_MARK = _Mark()
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    "INT", "LONG", "FLOAT", "STRING", "UNICODE",
}  # fmt: skip
_LONGEST = 2**64  # of an integer; a number of a million digits takes minutes to show
_LONGEST_NAME = 80
_NAMES = 100  # of what was skipped, that are kept
_IGNORED = frozenset(("PROTO", "FRAME"))


class Reading:
    """`known`: the functions (or values) of ours that stand for what a pickle names, by "module name".

    `storage` turns a persistent id into what it stands for. Both may raise Refused. `skipped` holds the names that are
    not known, in the order in which they first come.
    """

    def __init__(self, known: Mapping[str, Any], storage: Callable[[Any], Any]):
        self._known, self._storage = known, storage
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self.skipped: dict[str, None] = {}

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
                argument = Skipped("an integer of more than 64 bits")
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _IGNORED:
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
        if name in self._known:
            self._stack.append(self._known[name])
            return
        shown = name[:_LONGEST_NAME].replace(" ", ".")
        if len(self.skipped) < _NAMES:
            self.skipped[shown] = None
        self._stack.append(Skipped(shown))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Refused("the pickle is damaged: it names something by what is no text")
        self._global(f"{module} {name}")

    def _reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if isinstance(function, Skipped):
            self._stack.append(function)
            return
        if not callable(function) or not isinstance(arguments, tuple) or len(arguments) > 16:
            raise Refused("it calls something that is no function of a state dict")
        self._stack.append(function(*arguments))

    def _newobj(self, _: Any) -> None:
        """An instance by `__new__`. Of a class that is known, no instance is plain data."""
        self._pop()
        self._made_by(self._pop())

    def _newobj_ex(self, _: Any) -> None:
        self._pop()
        self._newobj(None)

    def _made_by(self, maker: Any) -> None:
        if not isinstance(maker, Skipped):
            raise Refused("it makes an instance of something that is no class")
        self._stack.append(maker)

    def _empty_set(self, _: Any) -> None:
        self._stack.append(Skipped("set"))

    def _additems(self, _: Any) -> None:
        self._to_mark()
        if self._stack[-1] != Skipped("set"):
            raise Refused("it adds items to something that is no set")

    def _frozenset(self, _: Any) -> None:
        self._to_mark()
        self._stack.append(Skipped("frozenset"))

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
        if isinstance(self._stack[-1], Skipped):
            return
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
        if isinstance(target, Skipped):
            return
        if not isinstance(target, dict) or len(flat) % 2:
            raise Refused("it sets items of something that is no mapping")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            plain = isinstance(key, str | int | float | bool | None)
            target[key if plain else _OddKey(len(target), type(key).__name__)] = value


_HANDLED = {
    "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID", "APPEND", "APPENDS", "SETITEM", "SETITEMS",
    "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
    "NEWOBJ", "NEWOBJ_EX", "EMPTY_SET", "ADDITEMS", "FROZENSET",
    "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
}  # fmt: skip
