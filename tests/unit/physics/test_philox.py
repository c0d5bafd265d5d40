"""The random numbers of stochastic laws: the published generator, and nothing but seed, step and cell."""

from __future__ import annotations

import pytest
import torch

from leym.physics.philox import philox, uniform

# Known answers of Philox4x32-10 from the Random123 distribution (Salmon et al. 2011).
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_known_answers(counter, key, answer):
    words = philox(*(tuple(torch.tensor(int(word, 16)) for word in text.split()) for text in (counter, key)))
    assert " ".join(f"{int(word):08x}" for word in words) == answer


def test_draws_depend_on_seed_step_and_cell_and_not_on_the_slot():
    seed, clock = torch.tensor([7, 2**63 - 1, 7]), torch.tensor([0, 5, 2**40])
    found = uniform(seed, clock, (8, 6))
    assert found.shape == (3, 1, 8, 6)
    assert found.dtype == torch.float32
    order = [2, 0, 1]
    assert torch.equal(uniform(seed[order], clock[order], (8, 6)), found[order])
    assert torch.equal(uniform(seed[:1], clock[:1], (8, 6)), found[:1])
    assert len(found.unique()) == found.numel()
    assert not torch.equal(uniform(seed[:1], clock[:1] + 1, (8, 6)), found[:1])


def test_draws_are_uniform():
    found = uniform(torch.arange(4), torch.zeros(4, dtype=torch.int64), (256, 256)).flatten().double()
    assert found.min() >= 0
    assert found.max() < 1
    counts = torch.histc(found, 64, 0, 1)
    chi_square = float(((counts - len(found) / 64) ** 2 / (len(found) / 64)).sum())
    assert 30 < chi_square < 115  # 63 degrees of freedom: both ends are beyond one in ten thousand


@pytest.mark.compile
@pytest.mark.slow
def test_the_compiled_draws_are_the_same_bits():
    seed, clock = torch.tensor([3, 4]), torch.tensor([10, 2**33])
    assert torch.equal(torch.compile(uniform, fullgraph=True)(seed, clock, (16, 16)), uniform(seed, clock, (16, 16)))
