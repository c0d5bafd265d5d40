"""The NCA law in JAX, as its users would write it, in a process of its own.

    python -m benchmarks.jax_arm --law FOLDER --grid 128 128 --batch 4 [--seconds 6]       one line of JSON

    jax    rolls and matrix products, a scan over the steps, jitted as one call
    cax    CAX 0.3 (Faldor & Cully 2025): ConvPerceive, MLPUpdate and nnx.scan of its ComplexSystem

Each in float32 and with bfloat16 operands around a float32 state. The float32 forms are held against ours first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from leym.common.children import end_with_parent
from leym.contract.spec import ComplexNoise
from leym.engine.run import initial_state
from leym.laws.bundle import Bundle, read_bundle
from leym.laws.loading import empty_network, load_weights
from leym.physics.step import EPSILON, step, to_real

STEPS = 32  # per call
GAMMA = 0.01

Steps = Callable[[Any, int], Any]  # of a state float32 [B, H, W, 2d]


def in_its_own_process(law: Bundle, grid: tuple[int, int], batch: int, seconds: float) -> dict[str, Any]:
    """Cell-steps/s by form, or {"error": why}."""
    sizes = ["--grid", *map(str, grid), "--batch", str(batch), "--seconds", str(seconds)]
    command = [sys.executable, "-m", "benchmarks.jax_arm", "--law", str(law.path), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=end_with_parent)
    if done.returncode:
        said = done.stderr.strip() or f"ended with {done.returncode}"  # what is killed says nothing
        return {"error": said.splitlines()[-1]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def weights_of(law: Bundle) -> dict[str, np.ndarray]:
    """Return filters [F, 3, 3], w1 [C F, h], b1, w2 [h, C] and b2, as matrices for channels that are last."""
    weights = load_weights(law)
    w1, w2 = (weights[f"net.{i}.weight"].flatten(1).T.numpy() for i in (0, 2))
    filters = weights["perceive.weight"][:4, 0].numpy()  # the same for every channel: perception is fixed
    return {
        "filters": filters,
        "w1": w1,
        "b1": weights["net.0.bias"].numpy(),
        "w2": w2,
        "b2": weights["net.2.bias"].numpy(),
    }


def finished(x: Any, y: Any) -> Any:
    import jax.numpy as jnp

    phi = x + y.astype(jnp.float32) - GAMMA * x
    return phi / (jnp.sqrt(jnp.square(phi).sum(-1, keepdims=True)) + EPSILON)


def plain(law: Bundle, dtype: Any) -> Steps:
    import jax
    import jax.numpy as jnp

    w = weights_of(law)
    beyond = "wrap" if law.manifest.network_options["padding"] == "periodic" else "constant"
    w1, b1, w2, b2 = (jnp.asarray(w[name], dtype) for name in ("w1", "b1", "w2", "b2"))

    def one(x: Any, _: None) -> tuple[Any, None]:
        wide = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=beyond)
        height, width = x.shape[1:3]
        near = [wide[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        seen = [sum(float(f) * part for f, part in zip(taps.flat, near, strict=True) if f) for taps in w["filters"]]
        p = jnp.stack(seen, axis=-1).reshape(*x.shape[:-1], -1).astype(dtype)
        return finished(x, jax.nn.elu(p @ w1 + b1) @ w2 + b2), None

    @partial(jax.jit, static_argnums=1, donate_argnums=0)
    def steps(x: Any, n: int) -> Any:
        return jax.lax.scan(one, x, None, length=n)[0]

    return steps  # type: ignore[no-any-return]


def by_cax(law: Bundle, dtype: Any) -> Steps:
    import jax.numpy as jnp
    from cax.core.cs import ComplexSystem  # type: ignore[import-not-found, unused-ignore]
    from cax.core.perceive import ConvPerceive  # type: ignore[import-not-found, unused-ignore]
    from cax.core.update import MLPUpdate  # type: ignore[import-not-found, unused-ignore]
    from flax import nnx  # type: ignore[import-not-found, unused-ignore]

    w, channels, hidden = weights_of(law), 2 * law.manifest.d_state, law.manifest.hidden_channels
    padding = "CIRCULAR" if law.manifest.network_options["padding"] == "periodic" else "SAME"

    class NCA(ComplexSystem):  # type: ignore[misc, valid-type]
        def __init__(self, rngs: Any):
            self.perceive = ConvPerceive(
                channels, 4 * channels, feature_group_count=channels, padding=padding, rngs=rngs
            )
            self.update = MLPUpdate(2, channels, 4 * channels, (hidden,), activation_fn=nnx.elu, rngs=rngs)

        def _step(self, state: Any, input: Any = None, *, sow: bool = False) -> Any:
            return finished(state, self.update(state, self.perceive(state.astype(dtype))))

    system = NCA(nnx.Rngs(0))
    kernel = np.tile(w["filters"].transpose(1, 2, 0)[:, :, None], (1, 1, 1, channels))  # [3, 3, 1, F C], C by C
    system.perceive.conv.kernel[...] = jnp.asarray(kernel)
    for layer, i in zip(system.update.layers, (1, 2), strict=True):
        layer.kernel[...], layer.bias[...] = jnp.asarray(w[f"w{i}"])[None, None], jnp.asarray(w[f"b{i}"])
    for layer in (system.perceive.conv, *system.update.layers):
        layer.dtype = dtype
    return lambda x, n: system(x, num_steps=n)


def start(law: Bundle, grid: tuple[int, int], batch: int) -> torch.Tensor:
    """float32 [B, 2d, H, W]."""
    states = [initial_state(ComplexNoise(), grid, law.manifest.d_state, seed) for seed in range(batch)]
    return to_real(torch.from_numpy(np.stack(states)))


@torch.no_grad()
def check(law: Bundle, steps: Steps) -> None:
    """Raises ValueError if one step differs from ours by more than rounding."""
    import jax.numpy as jnp

    x = start(law, (12, 20), 2)
    network = empty_network(law.manifest)
    network.load_state_dict(load_weights(law), assign=True)
    expected, _, _ = step(network, law.manifest.form, x, torch.full((1, 1, 1, 1), GAMMA))
    found = np.asarray(steps(jnp.asarray(x.permute(0, 2, 3, 1).numpy()), 1))
    if not (error := np.abs(found - expected.permute(0, 2, 3, 1).numpy()).max()) < 1e-4:
        raise ValueError(f"one step differs by {error}")


def measure(law: Bundle, grid: tuple[int, int], batch: int, seconds: float) -> dict[str, Any]:
    """Cell-steps/s, the best of three spells of `seconds / 3` each."""
    import jax.numpy as jnp

    found: dict[str, Any] = {}
    for name, make in (("jax", plain), ("cax", by_cax)):
        for dtype in (jnp.float32, jnp.bfloat16):
            key = f"{name} {'fp32' if dtype == jnp.float32 else 'bf16'}"
            try:
                steps = make(law, dtype)
                if dtype == jnp.float32:
                    check(law, steps)
            except ImportError as error:
                found[key] = str(error)
                continue
            x = jnp.asarray(start(law, grid, batch).permute(0, 2, 3, 1).numpy())
            x = steps(x, STEPS).block_until_ready()
            found[key] = 0.0
            for _ in range(3):
                began, calls = perf_counter(), 0
                while perf_counter() - began < seconds / 3 or not calls:
                    x, calls = steps(x, STEPS).block_until_ready(), calls + 1
                rate = calls * STEPS * batch * grid[0] * grid[1] / (perf_counter() - began)
                found[key] = max(found[key], rate)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--law", type=Path, required=True)
    options.add_argument("--grid", type=int, nargs=2, default=(128, 128))
    options.add_argument("--batch", type=int, default=4)
    options.add_argument("--seconds", type=float, default=6.0)
    chosen = options.parse_args()
    print(json.dumps(measure(read_bundle(chosen.law), tuple(chosen.grid), chosen.batch, chosen.seconds)))


if __name__ == "__main__":
    main()
