"""The pool keeps what is put into it, draws the worst first, and damage destroys discs only."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leym.training.pool import Pool, damaged


def test_the_worst_of_the_drawn_comes_first_and_what_is_put_is_taken():
    pool = Pool(torch.arange(10.0).view(10, 1, 1, 1).repeat(1, 2, 3, 3), torch.zeros(10, 5))
    places = pool.draw(4, np.random.default_rng(0))
    assert len(set(places.tolist())) == 4
    losses = torch.tensor([0.1, 0.4, 0.2, 0.3])
    states = torch.rand(4, 2, 3, 3, requires_grad=True)
    pool.put(places, states * 2, torch.ones(4, 5), losses)
    found, memory = pool.take(places)
    assert torch.equal(found, states * 2)
    assert not found.requires_grad
    assert torch.equal(memory, torch.ones(4, 5))
    untouched = sorted(set(range(10)) - set(places.tolist()))
    assert torch.equal(pool.states[untouched][:, 0, 0, 0], torch.tensor(untouched).float())
    drawn = pool.draw(10, np.random.default_rng(1))
    assert pool.losses[drawn].tolist() == sorted(pool.losses.tolist(), reverse=True)


@pytest.mark.parametrize("unit", [True, False])
def test_damage_replaces_a_disc_of_the_stated_size(unit):
    x = torch.nn.functional.normalize(torch.randn(6, 4, 40, 40), dim=1)
    found = damaged(x, np.random.default_rng(0), rate=1.0, radius=(0.1, 0.2), unit=unit)
    changed = (found != x).any(1)
    assert changed.flatten(1).sum(1).min() > 0
    assert changed.flatten(1).sum(1).max() <= np.pi * (0.2 * 40 + 1) ** 2
    norms = found.square().sum(1).sqrt()[changed]
    assert torch.allclose(norms, torch.full_like(norms, float(unit)), atol=1e-6)
    assert torch.equal(damaged(x, np.random.default_rng(0), 0.0, (0.1, 0.2), unit), x)
