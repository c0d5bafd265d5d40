"""Reads a pickle as data: a small stack machine for the opcodes that plain data needs.

A pickle is a program for a stack machine, and loading it runs whatever it names. This reader imports nothing and runs
nothing of the pickle: a class or function that it does not know becomes `Skipped`, and so does the object that it would
make.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class UnsafePickleError(Exception):
    """The pickle asks for something that plain data does not need; the message names it."""


class Skipped(NamedTuple):
    """Stands for an object that was not made; `name` is the class or function that would make it."""

    name: str


class _UnsupportedKey(NamedTuple):
    """Stands for a mapping's key that is neither a string nor a number: hashing nested tuples could take for ever."""

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
_MAX_INTEGER = 2**64  # printing a number of a million digits takes minutes
_MAX_NAME_LENGTH = 80
_MAX_SKIPPED_NAMES = 100
_IGNORED = frozenset(("PROTO", "FRAME"))


class PickleReader:
    """Reads one pickle.

    Attributes:
        skipped: Unknown classes and functions that the pickle names, in the order of their first appearance.
    """

    def __init__(self, known: Mapping[str, Any], persistent_load: Callable[[Any], Any]):
        """Prepare a reader.

        Args:
            known: "module name" -> the function or value of ours that replaces what the pickle names.
            persistent_load: Turns a persistent id into an object.

        The functions may raise UnsafePickleError.
        """
        self._known, self._persistent_load = known, persistent_load
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self.skipped: dict[str, None] = {}

    def read(self, data: bytes) -> Any:
        """Return the object that the pickle describes. Time and memory are proportional to the size of `data`.

        Raises:
            UnsafePickleError: The pickle is damaged, or asks for more than plain data.
        """
        try:
            for opcode, argument, _ in pickletools.genops(data):
                if opcode.name == "STOP":
                    if len(self._stack) != 1:
                        raise UnsafePickleError("the pickle ends with more than one object")
                    return self._pop()
                self._step(opcode.name, argument)
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise UnsafePickleError(f"the pickle is damaged: {error}") from error
        raise UnsafePickleError("the pickle has no end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            if isinstance(argument, int) and not -_MAX_INTEGER < argument < _MAX_INTEGER:
                argument = Skipped("an integer of more than 64 bits")
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _IGNORED:
            pass
        else:
            handler = getattr(self, f"_{name.lower()}", None) if name in _HANDLED else None
            if handler is None:
                raise UnsafePickleError(f"the opcode {name} is not allowed")
            handler(argument)

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise UnsafePickleError("the pickle is damaged: a mark in place of an object")
        return value

    def _pop_to_mark(self) -> list[Any]:
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
        shown = name[:_MAX_NAME_LENGTH].replace(" ", ".")
        if len(self.skipped) < _MAX_SKIPPED_NAMES:
            self.skipped[shown] = None
        self._stack.append(Skipped(shown))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise UnsafePickleError("the pickle is damaged: a module or a name is not text")
        self._global(f"{module} {name}")

    def _reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if isinstance(function, Skipped):
            self._stack.append(function)
            return
        if not callable(function) or not isinstance(arguments, tuple) or len(arguments) > 16:
            raise UnsafePickleError("it calls something that is not a function of a state dict")
        self._stack.append(function(*arguments))

    def _newobj(self, _: Any) -> None:
        """Skip an instance made by `__new__`; no class that is known here has instances."""
        self._pop()  # its arguments
        maker = self._pop()
        if not isinstance(maker, Skipped):
            raise UnsafePickleError("it makes an instance of something that is not a class")
        self._stack.append(maker)

    def _newobj_ex(self, _: Any) -> None:
        self._pop()
        self._newobj(None)

    def _empty_set(self, _: Any) -> None:
        self._stack.append(Skipped("set"))

    def _additems(self, _: Any) -> None:
        self._pop_to_mark()
        if self._stack[-1] != Skipped("set"):
            raise UnsafePickleError("it adds items to something that is not a set")

    def _frozenset(self, _: Any) -> None:
        self._pop_to_mark()
        self._stack.append(Skipped("frozenset"))

    def _build(self, _: Any) -> None:
        self._pop()  # attributes of the object, such as `_metadata` of a state dict; no object here has any
        self._stack.append(self._pop())

    def _binpersid(self, _: Any) -> None:
        self._stack.append(self._persistent_load(self._pop()))

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
        self._stack.append(tuple(self._pop_to_mark()))

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
        self._extend(self._pop_to_mark())

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self._stack[-1], Skipped):
            return
        if not isinstance(self._stack[-1], list):
            raise UnsafePickleError("it appends to something that is not a list")
        self._stack[-1].extend(values)

    def _setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._fill([key, value])

    def _setitems(self, _: Any) -> None:
        self._fill(self._pop_to_mark())

    def _fill(self, flat: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Skipped):
            return
        if not isinstance(target, dict) or len(flat) % 2:
            raise UnsafePickleError("it sets items of something that is not a mapping")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            supported = isinstance(key, str | int | float | bool | None)
            target[key if supported else _UnsupportedKey(len(target), type(key).__name__)] = value


_HANDLED = {
    "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID", "APPEND", "APPENDS", "SETITEM", "SETITEMS",
    "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
    "NEWOBJ", "NEWOBJ_EX", "EMPTY_SET", "ADDITEMS", "FROZENSET",
    "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
}  # fmt: skip
