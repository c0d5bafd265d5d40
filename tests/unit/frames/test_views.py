"""Views of psi against known states and formulas written another way."""

from __future__ import annotations

import colorsys
import zlib

import numpy as np
import pytest

from leym.contract.catalog import FIELDS, VIEWS, shown_info
from leym.frames import pictures, views
from leym.frames.histograms import histogram


def noise(h: int = 6, w: int = 9, d: int = 3, seed: int = 0) -> np.ndarray:
    re, im = np.random.default_rng(seed).standard_normal((2, h, w, d))
    return (re + 1j * im).astype(np.complex64)


def test_real_and_imaginary_parts_make_psi_again() -> None:
    psi = noise()
    assert np.array_equal(views.real(psi) + 1j * views.imag(psi), psi)


def test_the_gradient_of_a_wave_is_its_wavenumber() -> None:
    y, x = np.mgrid[:32, :24]
    psi = np.exp(1j * (0.02 * y + 0.05 * x))[..., None].astype(np.complex64)
    assert views.gradient(psi) == pytest.approx(np.hypot(0.02, 0.05), rel=1e-2)


def test_the_gradient_cell_by_cell() -> None:
    psi = noise()
    h, w, _ = psi.shape
    for y in range(h):
        for x in range(w):
            down, up, right, left = min(y + 1, h - 1), max(y - 1, 0), min(x + 1, w - 1), max(x - 1, 0)
            dy = (psi[down, x] - psi[up, x]) / (down - up)
            dx = (psi[y, right] - psi[y, left]) / (right - left)
            expected = np.linalg.norm(np.concatenate([dy, dx]))
            assert views.gradient(psi)[y, x] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("h", "w"), [(8, 12), (7, 9)])
def test_a_wave_is_one_point_of_the_centred_spectrum(h: int, w: int) -> None:
    y, x = np.mgrid[:h, :w]
    wave = np.exp(2j * np.pi * (2 * y / h - 3 * x / w))
    found = views.spectrum((wave[..., None] * [0.6, 0.8j]).astype(np.complex64))
    assert np.unravel_index(found.argmax(), found.shape) == (h // 2 + 2, w // 2 - 3)
    assert found.max() == pytest.approx(0, abs=1e-5)
    assert np.sort(found.ravel())[-2] < -8
    assert (10 ** views.spectrum(noise(h, w)).astype(float)).sum() == pytest.approx(
        (np.abs(noise(h, w)) ** 2).sum(-1).mean(), rel=1e-4
    )
    assert views.spectrum(np.zeros((h, w, 2), np.complex64)).max() == -12


def test_hue_is_phase_and_brightness_is_size() -> None:
    phase, density = np.random.default_rng(0).uniform(-np.pi, np.pi, (4, 5)), np.linspace(0, 2, 20).reshape(4, 5)
    found = views.hsv(phase.astype(np.float32), density.astype(np.float32))
    for y in range(4):
        for x in range(5):
            expected = colorsys.hsv_to_rgb(phase[y, x] / (2 * np.pi) % 1, 1, min(np.sqrt(density[y, x]), 1))
            assert found[y, x] == pytest.approx(expected, abs=1e-5)


def test_phase_and_density_of_psi_are_those_of_the_engine() -> None:
    import torch

    from leym.physics.observables import StateView
    from leym.physics.step import to_real

    psi = noise()
    psi[0, 0] = 0
    x = to_real(torch.from_numpy(psi)[None])
    state = StateView(x, None, x)
    np.testing.assert_allclose(views.mean_phase(psi), state.field("phase")[0], atol=1e-5)
    np.testing.assert_allclose(views.density(psi), state.field("density")[0], rtol=1e-5)


def test_principal_components_are_those_of_a_singular_value_decomposition() -> None:
    frames = [noise(seed=seed) * [3, 1, 0.2] + [1, 2j, 3] for seed in range(4)]
    found = views.principal_components([frame.astype(np.complex64) for frame in frames])
    cells = np.concatenate([frame.reshape(-1, 3) for frame in frames])
    cells = np.concatenate([cells.real, cells.imag], -1)
    _, sizes, axes = np.linalg.svd(cells - cells.mean(0), full_matrices=False)
    np.testing.assert_allclose(found.sd, sizes[:3] / np.sqrt(len(cells)), rtol=1e-5)
    np.testing.assert_allclose(np.abs((axes[:3] @ found.axes).diagonal()), 1, rtol=1e-5)
    for axis in found.axes.T:
        assert axis[np.abs(axis).argmax()] > 0
    again = views.principal_components([-frame.astype(np.complex64) for frame in frames])
    np.testing.assert_allclose(again.axes, found.axes, atol=1e-6)
    colours = views.pca(frames[0].astype(np.complex64), found)
    scores = (np.concatenate([frames[0].real, frames[0].imag], -1) - cells.mean(0)) @ found.axes / found.sd
    np.testing.assert_allclose(colours, np.clip(0.5 + scores / 4, 0, 1), atol=1e-5)


def test_components_do_not_depend_on_how_many_cells_are_taken_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    psi, found = noise(), []
    for cells in (1, 7, 10_000):
        monkeypatch.setattr(views, "CELLS", cells)
        found.append(views.pca(psi, views.principal_components([psi])))
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    np.testing.assert_allclose(found[1], found[2], atol=1e-6)


def test_one_channel_has_two_components_and_a_broken_frame_does_not_spoil_the_colours() -> None:
    psi, broken = noise(d=1), noise(d=1)
    broken[0, 0] = np.nan
    found = views.principal_components([psi, broken])
    assert np.array_equal(found.axes, views.principal_components([psi]).axes)
    assert (views.pca(psi, found)[..., 2] == 0.5).all()
    assert views.pca(psi, found)[..., :2].std() > 0.1
    still = views.principal_components([np.ones((4, 4, 2), np.complex64)])
    assert (views.pca(np.ones((4, 4, 2), np.complex64), still) == 0.5).all()
    with pytest.raises(ValueError, match="no frame with finite values"):
        views.principal_components([broken])


def test_counts_of_a_histogram_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.3, (20, 30)).astype(np.float32)
    values[0, :3] = [0, 1, np.nan]
    found = histogram(values, 0.0, 1.0, 16)
    counts, _ = np.histogram(values[np.isfinite(values)], 16, (0, 1))
    assert np.abs(found.counts - counts).sum() <= 2, "a value on an edge may fall to either side"
    assert found.counts.sum() + found.outside == values.size
    assert found.outside == ((values < 0) | (values > 1) | np.isnan(values)).sum()
    assert found.counts[-1] >= 1, "the upper end belongs to the last bin"


def test_compression_tells_order_from_noise() -> None:
    random, checked = np.random.default_rng(0).random((64, 64)), np.indices((64, 64)).sum(0) % 2
    assert histogram(checked, 0, 1, 2).counts.tolist() == [2048, 2048]
    assert histogram(checked, 0, 1, 2).compression < 0.02
    assert histogram(np.zeros((64, 64)), 0, 1, 256).compression < 0.01
    assert histogram(random, 0, 1, 256).compression > 0.99
    assert histogram(random, 0, 1, 16).compression == pytest.approx(0.5, abs=0.1)
    planes = np.stack([checked, random], -1)
    codes = b"".join(np.minimum(plane * 4, 3).astype(np.uint8).tobytes() for plane in (checked, random))
    assert histogram(planes, 0, 1, 4).compression == len(zlib.compress(codes, 6)) / len(codes)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_has_a_description_and_a_picture(name: str) -> None:
    info = VIEWS[name]
    assert shown_info(name) is info
    assert name not in FIELDS
    assert all(source in FIELDS for some in info.sources for source in some)
    values = np.random.default_rng(0).random((2, 8, 12, *((3,) if info.depth(3) else ()))).astype(np.float32)
    assert info.bounds is not None
    low, high = info.bounds
    rgb = pictures.render(name, low + (high - low) * values)
    assert rgb.shape == (2, 8, 12, 3)
    assert rgb.std() > 20


def test_a_picture_of_signed_channels_shows_their_sum_or_one() -> None:
    values = np.array([[[[1.0, -1.0], [1.0, 1.0]]]], np.float32)
    middle, end = pictures.render("real", np.array([[[[0.0], [1.0]]]], np.float32))[0, 0]
    assert np.array_equal(pictures.render("real", values)[0, 0], [middle, end])
    assert np.array_equal(pictures.render("real", values, 0)[0, 0], [end, end])
