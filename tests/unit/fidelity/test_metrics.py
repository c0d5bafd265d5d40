"""Every metric of the fidelity gate against another way to compute it, or a case whose value is known."""

from __future__ import annotations

from collections import Counter
from math import log, pi, sqrt

import numpy as np
import pytest
import torch

from leym.fidelity import information
from leym.fidelity.metrics import METRICS, flags, measure, shuffled
from leym.physics import complexity, dynamics, structure
from leym.physics.domains import components, domains, labels_of


def haar(*shape: int, seed: int = 0) -> torch.Tensor:
    """Haar-random unit vectors, complex64 [*shape]."""
    generator = torch.Generator().manual_seed(seed)
    return dynamics.normalised(torch.randn(shape, dtype=torch.complex64, generator=generator))


def blobs(t: int, side: int, d: int, seed: int = 0) -> torch.Tensor:
    """Smooth states that drift: something for every metric to see, complex64 [t, side, side, d]."""
    noise = torch.fft.fft2(haar(t + 6, side, side, d, seed=seed), dim=(1, 2))
    noise = noise * (structure.wavenumbers(side, side) < side / 10)[None, :, :, None]
    smooth = torch.fft.ifft2(noise, dim=(1, 2))
    return dynamics.normalised(torch.stack([smooth[i : i + 6].sum(0) for i in range(t)]))


def flood(mask: np.ndarray, diagonal: bool = False, wrap: bool = False) -> int:
    """Connected components by filling them one after another."""
    left, count = {(int(i), int(j)) for i, j in np.argwhere(mask)}, 0
    steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0) and (diagonal or 0 in (a, b))]
    while left:
        count, heap = count + 1, [left.pop()]
        while heap:
            y, x = heap.pop()
            for a, b in steps:
                there = ((y + a) % mask.shape[0], (x + b) % mask.shape[1]) if wrap else (y + a, x + b)
                if there in left:
                    left.remove(there)
                    heap.append(there)
    return count


def test_entropy_of_known_cells():
    cells = torch.zeros(1, 3, 4, dtype=torch.complex64)
    cells[0, 0, 0] = 2j
    cells[0, 1] = 0.3
    cells[0, 2, :2] = torch.tensor([1, 1j])
    assert torch.allclose(structure.entropy_field(cells), torch.tensor([[0.0, 1.0, 0.5]]), atol=1e-6)
    assert structure.entropy_field(haar(2, 2, 1)).eq(0).all()


def test_coherence_against_loops_and_the_haar_average():
    psi = haar(5, 7, 3)
    cells = psi.numpy()
    pairs = [(cells[i, j], cells[i + 1, j]) for i in range(4) for j in range(7)]
    pairs += [(cells[i, j], cells[i, j + 1]) for i in range(5) for j in range(6)]
    expected = np.mean([abs(np.vdot(a, b)) for a, b in pairs])
    assert float(structure.pair_coherence(psi)) == pytest.approx(expected, abs=1e-6)
    assert float(structure.pair_coherence(psi[:1, :1].expand(4, 4, 3))) == pytest.approx(1, abs=1e-6)
    squared = structure.alignment(haar(200, 200, 3, seed=1), haar(200, 200, 3, seed=2)).square().mean()
    assert float(squared) == pytest.approx(1 / 3, abs=0.005)


def test_spectrum_against_a_sum_over_cells():
    h, w = 6, 8
    psi = haar(h, w, 2).numpy().astype(np.complex128)
    expected = np.zeros(8)
    y, x = np.mgrid[:h, :w]
    for ky in range(-3, 3):
        for kx in range(-4, 4):
            wave = np.exp(-2j * pi * (ky * y / h + kx * x / w))[..., None]
            size = np.hypot(ky * 6 / h, kx * 6 / w)
            expected[round(float(size))] += (np.abs((psi * wave).sum((0, 1))) ** 2).sum() / (h * w) ** 2
    found = structure.spectrum(torch.from_numpy(psi)).numpy()
    assert np.allclose(found, expected[: len(found)])
    assert not expected[len(found) :].any()
    assert found.sum() == pytest.approx(1)  # Parseval


def test_a_plane_wave_has_its_wavenumber_and_length():
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    psi = torch.polar(torch.ones(32, 32), 2 * pi * (3 * x + 4 * y) / 32)[..., None]
    energy = structure.spectrum(psi)
    assert int(energy.argmax()) == 5
    assert float(structure.mean_wavenumber(energy)) == pytest.approx(5, abs=1e-4)


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("alphabet", [2, 4])
def test_domains_against_flood_fill(wrap, alphabet):
    labels = torch.from_numpy(np.random.default_rng(alphabet).integers(0, alphabet, (6, 9, 12)))
    found = domains(labels, wrap)
    for i, grid in enumerate(labels.numpy()):
        parts = sum(flood(grid == label, wrap=wrap) for label in range(alphabet))
        assert float(found["domains"][i]) * 108 == pytest.approx(parts, abs=1e-3)
        largest = Counter(components(labels[i], wrap).flatten().tolist()).most_common(1)[0][1]
        assert float(found["largest_domain"][i]) * 108 == pytest.approx(largest, abs=1e-3)
        if not wrap:  # Euler = domains - holes, a hole being what is outside and cannot reach the edge
            outside = [np.pad(grid != label, 1, constant_values=True) for label in range(alphabet)]
            holes = sum(flood(mask, diagonal=True) - 1 for mask in outside)
            assert float(found["domain_euler"][i]) * 108 == pytest.approx(parts - holes, abs=1e-3)
            walls = (grid[1:] != grid[:-1]).sum() + (grid[:, 1:] != grid[:, :-1]).sum()
            assert float(found["domain_walls"][i]) == pytest.approx(walls / (8 * 12 + 9 * 11))


def test_a_ring_is_one_domain_around_another():
    grid = torch.zeros(1, 5, 5, dtype=torch.long)
    grid[0, 1:4, 1:4] = 1
    grid[0, 2, 2] = 0
    found = {name: float(value) for name, value in domains(grid).items()}
    assert found["domains"] == pytest.approx(3 / 25)
    assert found["largest_domain"] == pytest.approx(16 / 25)
    assert found["domain_euler"] == pytest.approx((3 - 2) / 25)


def test_multiscale_complexity_is_half_the_variance_that_scales_take_away():
    # with block means O(k, k+1) = O(k+1, k+1), so that the sum telescopes
    field = torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = (field.square().mean((1, 2)) - field.mean((1, 2)).square()) / 2
    assert torch.allclose(complexity.multiscale(field), expected, atol=1e-5)
    assert float(complexity.multiscale(torch.full((8, 8), 0.7))) == pytest.approx(0, abs=1e-6)


def ordinal_by_counting(field: np.ndarray) -> tuple[float, float]:
    field = np.round(field * np.float32(1e4))
    counted: Counter[tuple[int, ...]] = Counter()
    for i in range(field.shape[0] - 1):
        for j in range(field.shape[1] - 1):
            window = [field[i, j], field[i, j + 1], field[i + 1, j], field[i + 1, j + 1]]
            counted[tuple(sorted(range(4), key=lambda k: (window[k], k)))] += 1
    p = np.array(list(counted.values()) + [0] * (24 - len(counted))) / counted.total()

    def shannon(q: np.ndarray) -> float:
        return float(-sum(x * log(x) for x in q if x > 0))

    def divergence(q: np.ndarray) -> float:
        return shannon((q + 1 / 24) / 2) - shannon(q) / 2 - log(24) / 2

    return shannon(p) / log(24), shannon(p) / log(24) * divergence(p) / divergence(np.eye(24)[0])


def test_permutation_entropy_against_counting():
    fields = torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(3))
    fields[1] = (fields[1] * 3).round() / 3  # many ties
    entropy, complex_ = complexity.permutation_entropy(fields)
    for i in range(2):
        h, c = ordinal_by_counting(fields[i].numpy())
        assert float(entropy[i]) == pytest.approx(h, abs=1e-5)
        assert float(complex_[i]) == pytest.approx(c, abs=1e-5)
    noise = complexity.permutation_entropy(torch.rand(300, 300, generator=torch.Generator().manual_seed(4)))
    assert float(noise[0]) > 0.999
    assert float(noise[1]) < 0.002
    flat = torch.full((20, 20), 0.5) + 1e-6 * torch.rand(20, 20)
    assert float(complexity.permutation_entropy(flat)[0]) == 0


def test_compression_rises_from_constant_to_noise():
    constant, smooth, noise = haar(1, 1, 3).expand(32, 32, 3), blobs(1, 32, 3)[0], haar(32, 32, 3)
    ratios = [float(complexity.compression(psi)) for psi in (constant, smooth, noise)]
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.05
    assert ratios[1] < 0.8 * ratios[2]


def test_lempel_ziv_parses_the_textbook_series():
    # Kaspar & Schuster (1987): 0 . 001 . 10 . 100 . 1000 . 101
    series = [int(c) for c in "0001101001000101"]
    assert complexity.lz76(series) == pytest.approx(6 * 4 / 16)
    assert complexity.lz76([1] * 64) == pytest.approx(2 * 6 / 64)


def test_activity_and_memory_of_a_turning_vector():
    angle = 0.1 * torch.arange(12)
    psi = torch.stack([angle.cos(), angle.sin()], -1).to(torch.complex64)[:, None, None].expand(12, 3, 4, 2)
    assert 1 - float(dynamics.autocorrelation(psi, (1,))) == pytest.approx(1 - np.cos(0.1), abs=1e-6)
    found = dynamics.autocorrelation(psi, (0, 3, 9))
    assert np.allclose(found, np.cos([0.0, 0.3, 0.9]), atol=1e-6)
    assert 1 - float(dynamics.autocorrelation(psi[:1].expand(5, 3, 4, 2), (1,))) == pytest.approx(0, abs=1e-6)


def test_a_perturbation_lies_on_the_manifold_at_its_distance():
    psi = haar(4, 8, 8, 3)
    for size in (1e-3, 1e-2):
        twin = dynamics.perturbed(psi, size, seed=1)
        assert torch.allclose(twin.abs().square().sum(-1), torch.ones(4, 8, 8), atol=1e-5)
        assert np.allclose(dynamics.distance(psi, twin), size, rtol=0.02)
        nearer = dynamics.rescaled(psi, twin, size / 4)
        assert np.allclose(dynamics.distance(psi, nearer), size / 4, rtol=0.02)
    assert np.allclose(dynamics.distance(psi, 1j * psi), sqrt(2), rtol=1e-5)


def test_the_exponent_of_the_logistic_map_is_log_2():
    x, size, before, after = 0.3, 1e-9, [], []
    for _ in range(20_000):
        twin = x + size if x < 0.5 else x - size
        before.append([abs(twin - x)])
        x, twin = 4 * x * (1 - x), 4 * twin * (1 - twin)
        after.append([abs(twin - x)])
    found = dynamics.exponent(torch.tensor(before, dtype=torch.float64), torch.tensor(after, dtype=torch.float64), 1)
    assert float(found) == pytest.approx(log(2), abs=0.01)


def test_information_flows_the_way_it_was_made_to():
    source = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (400, 6, 6)))
    target = source.roll(1, 0)  # the source of one step ago
    assert information.transfer_entropy(source, target, 2) == pytest.approx(1, abs=0.01)
    assert information.transfer_entropy(target, source, 2, history=2) == pytest.approx(0, abs=0.01)
    a, b = source.flatten().tolist(), (source * target).flatten().tolist()
    joint, left, right = Counter(zip(a, b, strict=True)), Counter(a), Counter(b)
    n = len(a)
    expected = sum(c / n * log(c * n / (left[x] * right[y]), 2) for (x, y), c in joint.items())
    assert information.mutual_information(source, source * target, 2) == pytest.approx(expected, abs=1e-9)
    moving = torch.stack([source[0].roll(t, 1) for t in range(40)])  # every cell copies its left neighbour
    assert information.information_flow(moving, 2)["flow"] > 0.3


def test_every_metric_is_invariant_under_phase_and_scale():
    psi, steps = blobs(6, 16, 3), torch.rand(6)
    found = measure(psi, steps, wrap=False)
    turned = measure(psi * torch.polar(torch.tensor(2.0), torch.tensor(0.7)), steps, wrap=False)
    assert set(found) == set(METRICS) - {"lyapunov"}
    for name, value in found.items():
        assert turned[name] == pytest.approx(value, abs=2e-3 if name == "compression" else 1e-4), name


def test_shuffling_keeps_the_cells_and_breaks_the_structure():
    psi = blobs(5, 16, 3)
    null = shuffled(psi, seed=1)
    for before, after in zip(psi, null, strict=True):
        assert sorted(before.abs().flatten().tolist()) == sorted(after.abs().flatten().tolist())
    steps = torch.zeros(5)
    there, gone = measure(psi, steps, wrap=False), measure(null, steps, wrap=False)
    assert gone["entropy"] == pytest.approx(there["entropy"], abs=1e-5)
    for name in ("pair_coherence", "memory_short"):
        assert gone[name] < there[name] - 0.1, name


def test_flags_name_what_is_wrong():
    alive = haar(5, 8, 8, 3)
    assert flags(alive, torch.full((5,), 0.1)) == ()
    assert flags(alive, torch.zeros(5)) == ("frozen",)
    one = torch.zeros_like(alive)
    one[..., 0] = 1
    assert flags(one, torch.full((5,), 0.1)) == ("collapsed",)
    alive[0, 0, 0, 0] = torch.nan
    assert "nan" in flags(alive, torch.full((5,), 0.1))


def test_series_count_changes_of_the_dominant_channel():
    psi = haar(40, 8, 8, 2)
    still = psi[:1].expand(40, 8, 8, 2)
    noisy, frozen = (measure(x, torch.zeros(40), wrap=False)["series"] for x in (psi, still))
    assert frozen == pytest.approx(2 * log(40, 2) / 40, rel=1e-6)
    assert noisy > 2 * frozen
    assert labels_of(psi).shape == (40, 8, 8)
