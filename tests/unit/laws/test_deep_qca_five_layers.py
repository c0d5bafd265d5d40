"""DEEP_QCA_FIVE_LAYERS against its definition in numpy, and its import."""

from __future__ import annotations

import numpy as np
import torch

from leym.laws.importing.convert import import_law
from leym.laws.loading import empty_network, load_weights
from leym.laws.networks.deep_qca_five_layers import DeepQCAFiveLayers
from leym.physics.step import step, to_complex, to_real
from tests.support.checkpoints import save, weights

D, H = 3, 6


def checkpoint() -> dict[str, torch.Tensor]:
    found = weights("DEEP_QCA_FIVE_LAYERS", D, H)
    found["conv_neighbors.weight"] = torch.ones(16 * D, 1, 3, 3)
    found["conv_neighbors.weight"][:, :, 1, 1] = 0
    return found


def numpy_step(w: dict[str, np.ndarray], psi: np.ndarray) -> np.ndarray:
    """A step of November 2025, cell by cell; psi: complex [H, W, d]."""
    after = np.empty_like(psi)
    h, width, d = psi.shape
    for i in range(h):
        for j in range(width):
            near = [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
            total = sum(psi[a, b] for a, b in near if 0 <= a < h and 0 <= b < width)
            x = np.repeat(np.concatenate([total.real, total.imag]), 8)
            for layer in (0, 2, 4, 6, 8):
                x = w[f"processing_net.{layer}.weight"][:, :, 0, 0] @ x
                if layer < 8:
                    x = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
            real, imaginary = (0.1 * part.reshape(4, d).mean(0) for part in np.split(x, 2))
            phi = psi[i, j] + real + w["M_bias_real"] + 1j * (imaginary + w["M_bias_imag"])
            after[i, j] = phi / np.sqrt((np.abs(phi) ** 2).sum() + 1e-8)
    return after


def test_a_checkpoint_is_imported_and_steps_as_it_did(tmp_path):
    content = {f"module.{key}": value for key, value in checkpoint().items()}  # as DataParallel saves it
    law = import_law(save(tmp_path / "qca.pth", content), "old", target=tmp_path / "laws")
    manifest = law.manifest
    assert (manifest.architecture, manifest.d_state, manifest.hidden_channels) == ("DEEP_QCA_FIVE_LAYERS", D, H)
    network = empty_network(manifest)
    network.load_state_dict(load_weights(law), assign=True)
    rng = np.random.default_rng(0)
    psi = rng.normal(size=(5, 6, D)) + 1j * rng.normal(size=(5, 6, D))
    psi /= np.linalg.norm(psi, axis=-1, keepdims=True)
    x = to_real(torch.from_numpy(psi[None].astype(np.complex64)))
    after, _, _ = step(network, manifest.form, x, torch.zeros(1, 1, 1, 1))
    arrays = {key: value.double().numpy() for key, value in checkpoint().items()}
    np.testing.assert_allclose(to_complex(after)[0].numpy(), numpy_step(arrays, psi), atol=2e-6)


def test_folded_it_is_the_same_function():
    network = DeepQCAFiveLayers(D, H).requires_grad_(False)
    network.load_state_dict(checkpoint(), assign=True)
    x = torch.randn(2, 2 * D, 6, 5)
    folded = network.folded()
    assert folded.conv_neighbors.out_channels == 2 * D
    assert torch.allclose(folded(x), network(x), atol=1e-5)
    network.conv_neighbors.weight[5] *= 2
    assert network.folded() is network
