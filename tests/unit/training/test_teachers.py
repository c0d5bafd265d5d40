"""The protocol that all teachers share."""

from __future__ import annotations

import pytest
import torch

from leym.training.objective_settings import TEACHER_NAMES
from leym.training.teachers.catalog import TEACHERS, teacher
from leym.training.teachers.lattice import laplacian, neighbours

OURS = [name for name, kind in TEACHERS.items() if kind.__module__.startswith("leym.")]  # other tests add their own
ALL = pytest.mark.parametrize("name", OURS)
PADDED = pytest.mark.parametrize("padding", ["periodic", "zero"])


@ALL
@PADDED
def test_a_universe_does_not_depend_on_its_batch(name: str, padding: str) -> None:
    model = teacher(name, padding=padding)
    whole, few = (model.start(batch, (15, 17), seed=7) for batch in (6, 4))
    assert whole.shape == (6, 2 * model.d_state, 15, 17)
    assert whole.dtype == torch.float32
    assert torch.equal(whole[:4], few)
    run = model.run(whole, 3)
    assert torch.equal(run[:, :4], model.run(few, 3))
    assert torch.equal(run[:, 2:3], model.run(few[2:3], 3))


@ALL
def test_each_kind_of_start_has_streams_of_its_own(name: str) -> None:
    model = teacher(name)
    for kind in model.starts:
        a, b = model.start(2, (16, 16), seed=1, kind=kind), model.start(2, (16, 16), seed=2, kind=kind)
        assert a.isfinite().all()
        assert not torch.equal(a[0], a[1])
        assert not torch.equal(a, b)
    kinds = model.start(32, (16, 16), seed=3)
    assert kinds.isfinite().all()


@ALL
@PADDED
def test_every_preset_stays_finite_and_moves(name: str, padding: str) -> None:
    kind = TEACHERS[name]
    for preset in (None, *kind.presets):
        model = teacher(name, padding=padding, preset=preset)
        run = model.run(model.start(4, (24, 24), seed=11), 200, every=40)
        assert run.isfinite().all()
        assert run.abs().max() < 3
        assert (run[0] - run[-1]).abs().amax((1, 2, 3)).max() > 0.05
        if model.constraint == "unit":
            assert (run.square().sum(2) - 1).abs().max() < 1e-5
        found = model.observe(run, every=40)
        assert all(value.shape == (4,) and value.dtype == torch.float64 for value in found.values())


@ALL
def test_one_step_reaches_no_further_than_it_says(name: str) -> None:
    model = teacher(name)
    x = model.start(1, (16, 16), seed=2, kind="noise")
    other = x.clone()
    other[..., 8, 8] = (2 * model.d_state) ** -0.5
    changed = (model.advance(x) != model.advance(other)).any(1)[0]
    rows, columns = changed.nonzero().unbind(1)
    reach = model.reach
    assert changed.any()
    assert rows.min() >= 8 - reach
    assert rows.max() <= 8 + reach
    assert columns.min() >= 8 - reach
    assert columns.max() <= 8 + reach


@ALL
def test_a_torus_has_no_special_cell(name: str) -> None:
    model = teacher(name)
    x = model.start(1, (16, 20), seed=4)
    moved = torch.roll(x, (5, 3), (-2, -1))
    assert torch.allclose(model.run(moved, 3)[-1], torch.roll(model.run(x, 3)[-1], (5, 3), (-2, -1)), atol=1e-6)


@ALL
def test_parameters_out_of_range_are_refused_by_name(name: str) -> None:
    key, parameter = next(iter(TEACHERS[name].known.items()))
    for value in (parameter.high + 1, parameter.low - 1, float("nan")):
        with pytest.raises(ValueError, match=rf"{key} = .*{name} allows"):
            teacher(name, **{key: value})
    shortest = {"dt": TEACHERS[name].known["dt"].low}
    assert teacher(name, **{key: parameter.low}, **shortest).parameters == {
        **teacher(name).parameters,
        key: parameter.low,
        **shortest,
    }


@ALL
def test_presets_name_known_parameters_in_their_ranges(name: str) -> None:
    for preset, values in TEACHERS[name].presets.items():
        assert teacher(name, preset=preset).parameters.items() >= values.items()


def test_a_step_too_long_to_be_stable_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dt = 0.15: the step of ginzburg_landau .* is stable up to 0.065"):
        teacher("ginzburg_landau", b=2.0)
    with pytest.raises(ValueError, match=r"dt = 1.0: the step of kuramoto .* is stable up to 0.167"):
        teacher("kuramoto", coupling=1.0, alpha=0.0)


def test_the_names_that_the_api_accepts_are_those_of_the_teachers() -> None:
    assert set(TEACHER_NAMES) == set(OURS)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="teacher = 'isling': expected one of kuramoto"):
        teacher("isling")
    with pytest.raises(ValueError, match="padding = 'mirror'"):
        teacher("kuramoto", padding="mirror")
    with pytest.raises(ValueError, match="preset = 'stripes': kuramoto has spirals"):
        teacher("kuramoto", preset="stripes")
    with pytest.raises(ValueError, match="beta: kuramoto has the parameters omega"):
        teacher("kuramoto", beta=1)
    with pytest.raises(ValueError, match="kind = 'stripes'"):
        teacher("kuramoto").start(1, (8, 8), 0, kind="stripes")
    with pytest.raises(ValueError, match="batch = 0"):
        teacher("kuramoto").start(0, (8, 8), 0)
    with pytest.raises(ValueError, match=r"grid = \[3, 8\]"):
        teacher("kuramoto").start(1, (3, 8), 0)
    with pytest.raises(ValueError, match="seed = -1"):
        teacher("kuramoto").start(1, (8, 8), -1)


def test_the_laplacian_of_walls_has_no_flux() -> None:
    x = torch.rand(2, 9, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for padding in ("periodic", "zero"):
        assert laplacian(x, padding).sum((-2, -1)).abs().max() < 1e-12
        assert laplacian(torch.ones(1, 6, 6), padding).abs().max() == 0


def test_neighbour_sums_against_a_loop() -> None:
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for padding in ("periodic", "zero"):
        found = neighbours(x, padding, edge=2.0, corner=0.5)
        for i in range(5):
            for j in range(6):
                total = 0.0
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        inside = 0 <= i + dy < 5 and 0 <= j + dx < 6
                        weight = (0, 2.0, 0.5)[abs(dy) + abs(dx)]
                        total += weight * float(x[(i + dy) % 5, (j + dx) % 6]) * (inside or padding == "periodic")
                assert float(found[i, j]) == pytest.approx(total)
