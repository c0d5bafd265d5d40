"""A growing law of the zoo, through a real service: it grows, is damaged by an uploaded state, and repairs itself."""

from __future__ import annotations

import numpy as np

from leym.training.objectives.growth import COLOURS
from leym.training.pictures import picture

GRID, SIZE = (28, 28), 20


def colours(psi):
    """Return R, G, B, A of states complex64 [..., H, W, d]: float32 [..., H, W, 4]."""
    return np.concatenate([psi.real, psi.imag], -1)[..., :COLOURS]


def distance(psi):
    """Return the mean squared distance to the picture that the law was taught."""
    above = (GRID[0] - SIZE) // 2
    target = np.pad(picture("flower", SIZE), ((0, 0), (above, above), (above, above)))
    return float(np.square(colours(psi) - target.transpose(1, 2, 0)).mean())


def test_a_flower_grows_and_repairs_itself_with_the_same_bits_in_a_full_batch(service):
    client, record = service.client, {"psi": 20, "rgb": 20}
    grown = client.submit("flower", GRID, 120, record, seed=5, precision="fp32").wait(240)
    assert grown.state == "succeeded"
    _, psi = grown.array("psi")
    assert distance(psi[0]) > 0.05, "one living cell"
    assert distance(psi[-1]) < 0.02
    hurt = psi[-1].copy()
    hurt[:, GRID[1] // 2 :] = 0
    assert distance(hurt) > 2 * distance(psi[-1])
    start = {"kind": "upload", "id": client.upload_state(hurt)}
    alone = client.submit("flower", GRID, 120, record, seed=6, initial=start, precision="fp32").wait(240)
    _, healed = alone.array("psi")
    assert np.array_equal(healed[0], hurt), "taken as it is, not normalised"
    assert distance(healed[-1]) < 0.5 * distance(hurt)
    crowd = client.sweep(
        "flower", seed=[6, *range(7, 30)], grid=GRID, steps=120, record=record, initial=start, precision="fp32"
    ).wait(240)
    _, same = crowd.member(0).array("psi")
    assert same.tobytes() == healed.tobytes()
