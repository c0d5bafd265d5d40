"""A law whose weights change: its network, seeded first weights, and one step with gradients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from leym.laws.bundle import Manifest
from leym.physics.step import step
from leym.training.seeds import generator

Step = Callable[[Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor | None]]


def new_network(manifest: Manifest, seed: int, zero_head: bool, gain: float = 1.0) -> nn.Module:
    """Build a network with seeded weights, float32, on the CPU.

    Args:
        manifest: The law.
        seed: Decides the weights.
        zero_head: Set the last layer to zeros, so that y = 0 and the step changes nothing at first.
        gain: Factor on the random weights of all matrices.

    Constants of the architecture take no gradient.
    """
    info = manifest.architecture_info
    module, _, name = info.network.partition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, "weights").integers(2**63)))
        network: nn.Module = getattr(import_module(module), name)(
            manifest.d_state, manifest.hidden_channels, **manifest.network_options
        )
    # the fixed perception of an NCA is a constant, a learned one is not
    learned = manifest.network_options.get("perception") == "learned"
    for key, weight in network.named_parameters():
        if key.startswith(info.frozen) and info.frozen and not learned:
            weight.requires_grad_(False)
        elif zero_head and key.startswith(info.head):
            nn.init.zeros_(weight)
        elif weight.ndim > 1:
            weight.data *= gain
    return network.train()


class TrainedLaw:
    """A network in training, as the step of a law.

    Attributes:
        manifest: The law.
        network: Its network; weights are float32.
        device: Where it computes.

    Args:
        manifest: The law.
        network: Its network.
        device: Where to compute.
        gamma: Damping per step.
        bf16: Multiply in bfloat16 (autocast). Constants, such as the perception of an NCA, still multiply in float32:
            they take differences of neighbours that bfloat16 would round away.
        compiled: Compile the step.
        checkpoint_gradients: Compute the step again on the way back instead of keeping what lies in it.
    """

    def __init__(
        self,
        manifest: Manifest,
        network: nn.Module,
        device: torch.device,
        *,
        gamma: float = 0.0,
        bf16: bool = False,
        compiled: bool = False,
        checkpoint_gradients: bool = False,
    ) -> None:
        self.manifest, self.device = manifest, device
        self.network = network.to(device)
        self._gamma = torch.full((1, 1, 1, 1), gamma, device=device)
        self._bf16, self._checkpointed = bf16, checkpoint_gradients
        # read here, because the compiler cannot trace the look-up of an architecture
        self._form = manifest.form
        self._bounds: dict[str, Any] = {
            "constraint": manifest.constraint,
            "living": manifest.living,
            "periodic": manifest.boundary == "periodic",
        }
        if bf16:
            self._keep_constants_exact()
        self._step: Any = torch.compile(self._plain, fullgraph=True, dynamic=False) if compiled else self._plain

    def _keep_constants_exact(self) -> None:
        for prefix in self.manifest.architecture_info.frozen:
            module = self.network.get_submodule(prefix.rstrip("."))
            module.forward = torch.autocast(self.device.type, enabled=False)(module.forward)

    def _plain(self, x: Tensor, memory: Tensor | None, uniform: Tensor | None) -> tuple[Tensor, Tensor | None]:
        after, remembered, _ = step(self.network, self._form, x, self._gamma, memory, uniform, **self._bounds)
        return after, remembered

    def step(self, x: Tensor, memory: Tensor | None, uniform: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Advance states by one step, with gradients where they are enabled.

        Args:
            x: states, float32 [B, 2d, H, W].
            memory: of a recurrent law, float32 [B, …].
            uniform: random numbers in [0, 1) of a stochastic law, float32 [B, 1, H, W].

        Returns:
            The next states and the next memory.
        """
        with torch.autocast(self.device.type, torch.bfloat16) if self._bf16 else nullcontext():
            if self._checkpointed and torch.is_grad_enabled():
                found: tuple[Tensor, Tensor | None] = checkpoint(
                    self._step, x, memory, uniform, use_reentrant=False, preserve_rng_state=False
                )
                return found
            found = self._step(x, memory, uniform)
            return found

    def start_memory(self, n: int, grid: tuple[int, int]) -> Tensor | None:
        """Return the memory of n universes before their first step, zeros; None for a law without memory."""
        if not self.manifest.architecture_info.memory:
            return None
        shape = self.network.memory_shape(grid)  # type: ignore[operator] # networks with a memory have it
        return torch.zeros(n, *shape, device=self.device)

    def parameters(self) -> list[nn.Parameter]:
        """Return the weights that are trained."""
        return [weight for weight in self.network.parameters() if weight.requires_grad]
