"""Reads files of torch.save (`.pth`, `.pt`) without torch and without running anything. Torch-free.

Such a file is a zip: a pickle that describes the objects, and one entry of raw bytes per storage. A pickle is a
program. This reader does not execute it: it goes through the opcodes one by one, and where one would call something, it
calls the function of this module that `_KNOWN` lists for that name, or skips the object. Tensors stay descriptions
until their numbers are needed, so an optimizer's state costs nothing.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem
from leym.contract.spec import LIMITS
from leym.laws.importing.safe_pickle import PickleReader, Skipped, UnsafePickleError
from leym.laws.importing.safe_zip import extract, open_zip

TITLE = "Unreadable checkpoint"
PICKLE_BYTES = 2 * 2**20  # a law of 42 tensors with its optimizer needs 15 KB
RESAVE = "torch.save(torch.load(OLD, map_location='cpu', weights_only=True), NEW)"

# Name of torch's storage class -> numpy's element type. numpy has no bfloat16: it is the upper half of a float32.
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
}


class Storage(NamedTuple):
    """A block of raw numbers in the file; `key` names its entry, `elements` counts them."""

    dtype: str
    key: str
    elements: int


class TensorInfo(NamedTuple):
    """Describes a tensor of the file. `offset` and `strides` count elements of its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """Element type, as numpy writes it, or "bfloat16"."""
        return self.storage.dtype


class TorchFile:
    """An open file of torch.save.

    Attributes:
        content: The saved object, with `TensorInfo` in place of tensors and `Skipped` in place of unknown objects.
        skipped: Names of the unknown classes and functions.
    """

    def __init__(self, archive: zipfile.ZipFile, root: str, content: Any, skipped: Sequence[str] = ()):
        self._archive, self._root, self.content, self.skipped = archive, root, content, skipped

    def array(self, tensor: TensorInfo) -> NDArray[Any]:
        """Read the numbers of a tensor as a C-contiguous array; float16 and bfloat16 become float32.

        Raises:
            Problem: 422, if the storage is missing, damaged or of another size.
        """
        dtype, key, elements = tensor.storage
        name = f"{self._root}data/{key}"
        width = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
        if name not in self._archive.NameToInfo:
            raise Problem(422, TITLE, f"the storage {key!r} is missing from the file")
        found = self._archive.getinfo(name).file_size
        if found != elements * width:
            wanted = f"{elements} elements need {elements * width}"
            raise Problem(422, TITLE, f"the storage {key!r} has {found} bytes; {wanted}")
        raw = io.BytesIO()
        extract(self._archive, name, raw, TITLE)
        flat = np.frombuffer(raw.getbuffer(), "<u2" if dtype == "bfloat16" else dtype)
        steps = tuple(stride * width for stride in tensor.strides)
        # `_rebuild_tensor` has checked that offset, shape and strides stay inside the storage.
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps, writeable=False)
        if dtype == "bfloat16":
            return (view.astype("<u4") << np.uint32(16)).view("<f4")
        return np.ascontiguousarray(view, dtype="<f4" if dtype == "<f2" else None).reshape(tensor.shape)


@contextmanager
def open_torch_file(path: Path, limit: int = LIMITS.law_bytes) -> Iterator[TorchFile]:
    """Open a file of torch.save.

    Raises:
        Problem: 413, if the file has more than `limit` bytes; 422, if it holds anything but plain data.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise Problem(422, TITLE, f"{path.name}: {error.strerror}") from error
    if size > limit:
        raise Problem(413, "Too large", f"{path.name} has {size} bytes; at most {limit}")
    if start[:1] == b"\x80":  # a bare pickle
        detail = (
            f"{path.name} is a bare pickle, as torch wrote before 1.6, which is not read here. Save it again: {RESAVE}"
        )
        raise Problem(422, TITLE, detail)
    # torch stores without compression, so the entries of an honest file unpack to at most the size of the file.
    with open_zip(path, TITLE, limit=size) as archive:
        pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Problem(
                422, TITLE, f"{path.name} is not a file of torch.save: it has {len(pickles)} entries NAME/data.pkl"
            )
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in archive.NameToInfo:
            raise Problem(422, TITLE, f"{path.name} is a TorchScript module; save its state_dict() instead")
        if f"{root}byteorder" in archive.NameToInfo and _bytes(archive, f"{root}byteorder", 16) != b"little":
            raise Problem(422, TITLE, f"{path.name} was written on a big-endian machine, which is not read here")
        try:
            reader = PickleReader(_KNOWN, _storage)
            content = reader.read(_bytes(archive, pickles[0], PICKLE_BYTES))
        except UnsafePickleError as error:
            raise Problem(422, TITLE, f"{path.name}: {error}") from error
        yield TorchFile(archive, root, content, tuple(reader.skipped))


def _bytes(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    size = archive.getinfo(name).file_size
    if size > limit:
        raise Problem(422, TITLE, f"entry {name!r} has {size} bytes; at most {limit}")
    data = io.BytesIO()
    extract(archive, name, data, TITLE)
    return data.getvalue()


def _storage(pid: Any) -> Storage | Skipped:
    """Turn a persistent id ("storage", storage class, key, device, elements) into a Storage."""
    match pid:
        case ("storage", _StorageClass(dtype=dtype), str(key), str(), int(elements)):
            if elements < 0 or "/" in key or "\\" in key:
                raise UnsafePickleError(f"the storage {key[:40]!r} with {elements} elements cannot come from torch")
            return Storage(dtype, key, elements)
        case ("storage", Skipped() as kind, str(), str(), int()):
            return kind
    raise UnsafePickleError("a persistent id that is not a storage")


class _StorageClass(NamedTuple):
    dtype: str


def _ints(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > 8 or not all(type(n) is int and 0 <= n < 2**40 for n in value):
        raise UnsafePickleError("an invalid shape or stride")
    return value


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TensorInfo | Skipped:
    if isinstance(storage, Skipped):
        return storage
    shape, strides = _ints(shape), _ints(strides)
    if not isinstance(storage, Storage) or type(offset) is not int or offset < 0 or len(shape) != len(strides):
        raise UnsafePickleError("a tensor without storage, offset, shape and strides")
    count = prod(shape)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if count > storage.elements or (count and last >= storage.elements):
        raise UnsafePickleError(
            f"a tensor {list(shape)} at {offset} reaches beyond the end of its storage of {storage.elements} elements"
        )
    return TensorInfo(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _size(shape: Any = ()) -> tuple[int, ...]:
    return _ints(tuple(shape) if isinstance(shape, list) and len(shape) <= 8 else shape)


def _mapping(content: Any = None) -> dict[Any, Any] | Skipped:
    """Return the mapping itself, not a copy: a pickle of a few bytes could ask for a million copies."""
    if content is None or content == ():
        return {}
    if isinstance(content, dict):
        return content
    return Skipped("a mapping made of a list")


_KNOWN: dict[str, Any] = {
    "collections OrderedDict": _mapping,
    "collections Counter": _mapping,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_parameter_with_state": _parameter,
    "torch Size": _size,
    **{f"torch {name}": _StorageClass(dtype) for name, dtype in _DTYPES.items()},
}
