"""Reads laws from files: `manifest.json` and `weights.safetensors`, addressed by their digest. Torch-free.

The manifest states how the network's output becomes the update (`form`), so that no code derives it from a class name.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from leym.contract.initial import ComplexNoise, Drawn, RandomState, Seed, WholeStart, drawn_start
from leym.contract.problems import Problem
from leym.laws.architectures import Architecture, architectures
from leym.laws.starts import check_start
from leym.physics.constraint import Box, Constraint, Living, check_living

MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
PREVIEW = "preview.webp"  # an animation for people; not part of the digest
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class Manifest(BaseModel):
    """Describes a law: its network and how the output y of the network becomes the update.

    Attributes:
        name: Name of the law; not part of its digest.
        architecture: Name of an `Architecture`.
        d_state: Complex channels of a cell.
        hidden_channels: Width of the network.
        form: "additive": psi + y; "diagonal": psi + y * psi; "antisymmetric": psi + A(y) psi.
        options: Choices of the architecture; those left out have their default.
        policy: Precision -> role, or beginning of a weight's key -> format at rest, where it differs from the policy of
            `leym.quantization.policy`.
        description: One line for people.
        provenance: Origin of the law.
        constraint: Bound of the state after each step: "unit" (norm 1 per cell), "none", or {"box": [low, high]} for
            every real channel.
        living: Mask that empties cells without living cells near them; None for a law without.
        start: Start state of jobs that name none, and of the fidelity gate: see `leym.laws.starts.default_start`.
        codes: Precision -> sha256 of the weights that the law's own codes of that precision stand for, if it carries
            any: see `leym.laws.own_codes`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME)
    architecture: str
    d_state: int = Field(ge=1, le=256)
    hidden_channels: int = Field(ge=1, le=4096)
    form: Literal["additive", "diagonal", "antisymmetric"]
    options: dict[str, Any] = Field(default_factory=dict)
    policy: dict[Literal["nf4", "int8", "bf16"], dict[str, Literal["nf4", "int8", "bf16", "16", "fp32"]]] = Field(
        default_factory=dict,
        description="per precision, formats of this law's own: by role, or by the beginning of a weight's key",
    )
    description: str = ""
    provenance: dict[str, Any] = Field(default_factory=dict)
    constraint: Constraint = "unit"
    living: Living | None = None
    start: WholeStart = None
    codes: dict[Literal["nf4", "int8", "bf16"], Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict, description="per precision with codes of this law's own, sha256 of the decoded weights"
    )

    @model_validator(mode="after")
    def _known_architecture(self) -> Manifest:
        if self.architecture not in architectures():
            raise ValueError(f"unknown architecture {self.architecture!r}; known: {', '.join(architectures())}")
        if (self.form == "antisymmetric") != (self.architecture_info.form == "antisymmetric"):
            raise ValueError(f"form = {self.form!r} does not fit architecture {self.architecture}")
        for name, value in self.options.items():
            if name not in self.architecture_info.options:
                known = ", ".join(self.architecture_info.options) or "none"
                raise ValueError(f"options.{name}: {self.architecture} has no such option; known: {known}")
            if not self.architecture_info.options[name].accepts(value):
                raise ValueError(f"options.{name} = {value!r}: it must be {self.architecture_info.options[name]}")
        for name, option in self.architecture_info.options.items():
            if option.default is None and name not in self.options:
                raise ValueError(f"options.{name} is required for {self.architecture}: {option}")
        return self

    @model_validator(mode="after")
    def _living_fits(self) -> Manifest:
        if self.living is not None:
            check_living(self.constraint, self.living, 2 * self.d_state)
        return self

    @model_validator(mode="after")
    def _start_fits(self) -> Manifest:
        if self.start is not None:
            try:
                check_start(self.constraint, drawn_start(self.start))
            except ValueError as error:
                raise ValueError(f"start: {error}") from None
        return self

    @property
    def default_start(self) -> Drawn:
        """Start state that shows what the law does.

        That is `start`; without one noise, in a box noise that fills it, and a seed for a law that grows.
        """
        if self.start is not None:
            return drawn_start(self.start)
        if self.living is not None and not isinstance(self.constraint, Box):
            return Seed()
        return RandomState() if isinstance(self.constraint, Box) else ComplexNoise()

    def code_of(self, key: str) -> tuple[str, str] | None:
        """Split the key of a tensor that is a code of the law's own: (precision, rest). None for a weight."""
        precision, _, rest = key.partition(".")
        return (precision, rest) if precision in self.codes else None

    @property
    def architecture_info(self) -> Architecture:
        """The architecture that `architecture` names."""
        return architectures()[self.architecture]

    @property
    def network_options(self) -> dict[str, Any]:
        """All options of the network, with defaults for those that `options` leaves out."""
        return {name: self.options.get(name, option.default) for name, option in self.architecture_info.options.items()}

    @property
    def boundary(self) -> str:
        """Boundary of the grid: "zero" or "periodic"."""
        return str(self.network_options.get("padding", "zero"))

    @property
    def stochastic(self) -> bool:
        """True if a step draws random numbers."""
        return bool(self.network_options.get("update_rate", 1.0) < 1.0)

    @property
    def grid_multiple(self) -> int:
        """Number that must divide both sides of the grid, because of the poolings of a U-Net."""
        return self.architecture_info.grid_multiple


@dataclass(frozen=True)
class Bundle:
    """A law read from a folder.

    Attributes:
        manifest: The manifest.
        digest: sha256 of manifest and weights, 64 hex digits; it does not cover the name.
        path: The folder.
    """

    manifest: Manifest
    digest: str
    path: Path

    @property
    def name(self) -> str:
        """Name of the law."""
        return self.manifest.name

    @property
    def ref(self) -> str:
        """Reference that pins this version: name@digest."""
        return f"{self.name}@{self.digest}"

    @cached_property
    def tensors(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Key -> dtype and shape of every weight, from the header of the file; without the law's own codes."""
        return {key: entry for key, entry in self._entries.items() if self.manifest.code_of(key) is None}

    def codes(self, precision: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Key -> dtype and shape of every tensor of the law's own codes of a precision, keys without the precision."""
        split = {self.manifest.code_of(key): entry for key, entry in self._entries.items()}
        return {code[1]: entry for code, entry in split.items() if code is not None and code[0] == precision}

    @cached_property
    def _entries(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        return _header(self.path / WEIGHTS)

    @property
    def parameters(self) -> int:
        """Number of all weights, constants included."""
        return sum(prod(shape) for _, shape in self.tensors.values())


def has_preview(bundle: Bundle) -> bool:
    """Tell whether a bundle carries an animation of its law."""
    return (bundle.path / PREVIEW).is_file()


def digest_of(manifest: Manifest, weights: Path) -> str:
    """Return the digest of a law: sha256 over the sha256 of its canonical manifest and that of its weights file.

    The canonical manifest leaves out the name and all defaults, so that a field that is added later changes no digest.
    """
    fields = manifest.model_dump(exclude={"name"}, exclude_defaults=True)
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    whole = hashlib.sha256(hashlib.sha256(canonical.encode()).digest())
    with weights.open("rb") as file:
        whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def read_bundle(path: Path) -> Bundle:
    """Read the bundle in a folder.

    Raises:
        Problem: 422, if a file is missing, or is not a valid manifest or safetensors file.
    """
    try:
        manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
        bundle = Bundle(manifest, digest_of(manifest, path / WEIGHTS), path)
        _ = bundle.tensors
    except OSError as error:
        raise Problem(422, "Unreadable law", f"{path.name}: {error.strerror}: {Path(error.filename).name}") from error
    except ValidationError as error:
        detail = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise Problem(422, "Unreadable law", f"{path.name}/{MANIFEST}: {detail}") from error
    return bundle


def _header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size, 16 * 2**20):
            raise Problem(422, "Unreadable law", f"{path.name}: a header of {length} bytes in a file of {size}")
    try:
        with safe_open(path, framework="np") as weights:
            parts = [(name, weights.get_slice(name)) for name in sorted(weights.keys())]
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts}
    except SafetensorError as error:
        raise Problem(422, "Unreadable law", f"{path.name} is not a safetensors file: {str(error)[:200]}") from error
