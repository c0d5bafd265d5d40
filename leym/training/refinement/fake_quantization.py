"""Weights that a training sees exactly as a worker will decode them, with a gradient to what they are encoded from.

    NF4        W = decode(NF4(index, s)),  index = level nearest to w / s           s: scale of the block
               dW/dw = 1,   dW/ds = level[index] - w / s
    the rest   W = decode(encode(w)),      dW/dw = 1                                int8, 16 bit, fp32

The forward pass runs the encoder and decoder of the serving policy, bit for bit. Rounding has no gradient of use, so
it counts as the identity (straight-through). Small updates would be lost in rounding, so the latent w stays in fp32.
A scale is learned as the logarithm of its growth, which keeps it above 0.

Sources: Bengio et al. 2013, arXiv 1308.3432 (the straight-through gradient); Esser et al. 2020, "Learned step size
quantization", arXiv 1902.08153 (the gradient to a scale).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.quantization.nf4 import LEVELS, NF4
from leym.quantization.policy import format_of, role_of
from leym.quantization.quantized_law import encode
from leym.training.calibration.absmax import nearest
from leym.training.calibration.layers import per_weight


@dataclass(frozen=True)
class FakeNF4:
    """A kernel in NF4 that learns.

    Attributes:
        latent: w, float32 [n], flat in the order of `NF4.encode`.
        first: Scale of each block at the start, float32 [ceil(n / 64)].
        growth: log(s / first) per block, float32 [ceil(n / 64)].
        shape: (O, I, kh, kw).
    """

    latent: Tensor
    first: Tensor
    growth: Tensor
    shape: tuple[int, ...]

    @classmethod
    def start(cls, code: NF4) -> FakeNF4:
        """Begin with a code, every latent at the level that it decodes to."""
        latent = LEVELS[code.indices.long()] * per_weight(code.absmax, code.indices.numel())
        growth = torch.zeros_like(code.absmax)
        return cls(latent.requires_grad_(True), code.absmax, growth.requires_grad_(True), code.shape)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The tensors that an optimiser changes."""
        return self.latent, self.growth

    def code(self) -> NF4:
        """Return the code as it is now."""
        absmax = self.first * self.growth.detach().exp()
        scale = per_weight(absmax, self.latent.numel())
        ratio = self.latent.detach() / torch.where(scale > 0, scale, 1.0)
        return NF4.from_indices(nearest(ratio), absmax, self.shape)

    def weight(self) -> Tensor:
        """Return what the code decodes to, float32 [O, I, kh, kw], with the straight-through gradient."""
        code = self.code()
        level = LEVELS[code.indices.long()]
        scale = per_weight(self.first * self.growth.exp(), level.numel())
        ratio = self.latent / torch.where(scale > 0, scale, 1.0)
        soft = scale * (ratio + (level - ratio).detach())
        o, i, h, w = self.shape
        gradient = (soft - soft.detach()).view(o, h, w, i).permute(0, 3, 1, 2)  # zero
        return code.decode(torch.float32) + gradient


@dataclass(frozen=True)
class FakePlain:
    """A weight in any other format that learns.

    Attributes:
        latent: w, float32 in the weight's shape.
        format: "int8", "16", "bf16" or "fp32".
    """

    latent: Tensor
    format: str

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The tensors that an optimiser changes."""
        return (self.latent,)

    def code(self) -> Tensor:
        """Return what is stored for the policy to encode: float32.

        "16" stands for bfloat16 here, which every operand dtype holds exactly. An int8 weight is stored as its latent:
        the encoder makes the same int8 of it again.
        """
        now = self.latent.detach()
        return now.bfloat16().float() if self.format == "16" else now.clone()

    def weight(self) -> Tensor:
        """Return what the code decodes to, float32, with the straight-through gradient."""
        decoded = encode(self.format, self.code(), torch.float32).decode(torch.float32)
        return decoded + (self.latent - self.latent.detach())


class FakeQuantized:
    """All weights of a law in a precision, as they learn.

    Attributes:
        weights: Key -> weight; constants are not among them.
        constants: Key -> float32.
    """

    def __init__(self, law: Bundle, precision: str, codes: Mapping[str, Tensor | NF4]) -> None:
        """Begin with given codes, and with the encoded fp32 weights where there are none.

        Args:
            law: The law.
            precision: Whose policy decides the formats.
            codes: Key -> code, as calibration makes them.
        """
        self.weights: dict[str, FakeNF4 | FakePlain] = {}
        self.constants: dict[str, Tensor] = {}
        for key, weight in load_weights(law).items():
            role = role_of(law.manifest, key, tuple(weight.shape))
            chosen, code = format_of(law.manifest, precision, key, role), codes.get(key, weight)
            if role == "frozen":
                self.constants[key] = weight
            elif chosen == "nf4":
                self.weights[key] = FakeNF4.start(code if isinstance(code, NF4) else NF4.encode(code))
            elif isinstance(code, NF4):
                raise ValueError(f"{law.ref}: {key} has a code in NF4, but the policy stores it as {chosen}")
            else:
                self.weights[key] = FakePlain(code.detach().clone().requires_grad_(True), chosen)

    def parameters(self) -> Iterator[Tensor]:
        """Yield the tensors that an optimiser changes, in the order of the weights file."""
        for weight in self.weights.values():
            yield from weight.parameters

    def decoded(self) -> dict[str, Tensor]:
        """Return key -> what a worker decodes, float32, with gradients."""
        return self.constants | {key: weight.weight() for key, weight in self.weights.items()}

    def codes(self) -> dict[str, Tensor | NF4]:
        """Return key -> code, for `leym.quantization.codes.write_with_codes`."""
        return {key: weight.code() for key, weight in self.weights.items()}
