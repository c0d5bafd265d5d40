"""The bits of a universe's fields, observables and start state do not depend on the universes computed with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leym.physics import elementwise
from leym.physics.initial import complex_noise, complex_noises
from leym.physics.observables import FIELDS, MEASURES, StateView, state_hash
from leym.physics.step import to_complex

OBSERVABLES = ("channel_entropy", "channel_entropy_sd", "coherence", "coherence_sd", "activity", "activity_sd")
OBSERVABLES += ("overlap", "phase", "density", *MEASURES)
GRIDS = [(8, 8), (5, 5), (7, 13), (64, 64), (33, 65), (181, 183)]


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def results(x, previous, origin):
    view = StateView(x, previous, origin)
    fields = {name: view.field(name) for name in FIELDS}
    return fields | {f"observable {name}": view.observable(name) for name in OBSERVABLES}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("d", [1, 4])
def test_some_universes_have_the_bits_of_all(threads, grid, d):
    torch.manual_seed(0)
    states = [torch.randn(7, 2 * d, *grid).to(memory_format=torch.channels_last) for _ in range(3)]
    together = results(*states)
    for rows in ([0], [3], [6], [1, 4], [0, 2, 3], range(6)):
        chosen = torch.tensor(list(rows))
        for name, found in results(*(state[chosen] for state in states)).items():
            assert torch.equal(found, together[name][chosen]), (name, list(rows))


def test_results_are_the_same_in_parts_of_any_size(threads, monkeypatch):
    found = []
    for cached in (1, 2**14, 2**40):
        monkeypatch.setattr(elementwise, "CACHED", cached)
        parts = complex_noises((9, 7, 3), range(11), [0.3] * 11)
        found.append((parts, to_complex(torch.from_numpy(parts).permute(0, 3, 1, 2)).numpy()))
    for parts, psi in found:
        assert np.array_equal(parts, found[-1][0])
        assert np.array_equal(psi, parts[..., :3] + 1j * parts[..., 3:])


@pytest.mark.parametrize("n", [0, 1, 3, 12])
def test_parts_cover_every_universe_once(monkeypatch, n):
    monkeypatch.setattr(elementwise, "CACHED", 100)
    for nbytes in (1, 30, 100, 101, 2**40):
        parts = [range(n)[part] for part in elementwise.cached_parts(n, nbytes)]
        assert [i for part in parts for i in part] == list(range(n))
        assert all(len(part) == 1 or len(part) * nbytes <= 100 * torch.get_num_threads() for part in parts)


def test_numbers_at_the_end_of_an_array_are_rounded_as_those_in_the_middle(threads, monkeypatch):
    numbers = torch.linspace(0.1, 3, 101)
    found = [elementwise.per_number(torch.log, numbers.repeat(n)) for n in (1, 2, 5)]
    for repeated in found:
        assert all(torch.equal(part, found[0]) for part in repeated.view(-1, 101))


def test_start_states_drawn_together_are_those_drawn_alone(threads):
    seeds, strengths = [7, 2**63 - 1, 0, 7], [0.1, 1.0, 0.0, 0.5]
    for shape in ((5, 7, 3), (16, 16, 4)):
        together = complex_noises(shape, seeds, strengths)
        for found, seed, strength in zip(together, seeds, strengths, strict=True):
            alone = complex_noise(shape, seed, strength)
            assert np.array_equal(found, np.concatenate([alone.real, alone.imag], -1))
            theta = strength * np.random.Generator(
                np.random.Philox(key=np.array([seed, 0], np.uint64))
            ).standard_normal(shape)
            np.testing.assert_allclose(alone, np.exp(1j * theta), atol=2e-7)


def test_equal_states_have_equal_hashes_and_others_do_not():
    torch.manual_seed(1)
    x = torch.randn(50, 4, 6, 6).to(memory_format=torch.channels_last)
    hashes = state_hash(x)
    assert len(set(hashes.tolist())) == 50
    assert torch.equal(state_hash(x[[3, 1]]), hashes[[3, 1]])
    changed = x.clone()
    changed[0, 2, 3, 3] = torch.nextafter(changed[0, 2, 3, 3], torch.tensor(9.0))
    swapped = x[0].flip(-1)[None]
    assert state_hash(changed)[0] != hashes[0]
    assert state_hash(swapped)[0] != hashes[0]
    expected = (np.asarray(x[0].contiguous()).view(np.int32).ravel().astype(np.int64)).tolist()
    odd = [(2 * i + 1) * -7046029254386353131 for i in range(len(expected))]
    total = sum(a * b for a, b in zip(expected, odd, strict=True)) & (2**64 - 1)
    assert int(hashes[0]) & (2**64 - 1) == total
