"""The fused kernel of per-cell laws against the networks as torch computes them, and its bits against itself."""

from __future__ import annotations

import platform
import subprocess
from functools import cache

import numpy as np
import pytest
import torch

from leym.contract.spec import Recording
from leym.engine.device import Device, pick_device
from leym.engine.step import per_cell_cpu
from leym.engine.step.batch_tensors import BatchTensors
from leym.engine.step.compiled import CompiledSteps
from leym.engine.step.per_cell_cpu import FusedCells, KernelBuildError, multiplies
from leym.engine.step.resident_law import ResidentLaw
from leym.laws.loading import load_weights
from leym.laws.networks.mlp import MLP
from leym.physics.constraint import Box
from leym.physics.philox import uniform
from leym.physics.step import step
from leym.quantization.quantized_law import quantize_law
from tests.support.engines import a_run
from tests.support.laws import deviation, oracle, random_law
from tests.support.per_cell import CLOCK, SEED, copy, fused, nca, tensors_of, universes

# the kernel as a lesser CPU has it: vectors of eight, or products of bfloat16 by vectors alone
LESSER = {"short vectors": ["-mno-avx512f"], "no matrix unit": ["-mno-amx-tile", "-mno-amx-bf16"]}


@pytest.fixture(params=["float32", "float32, short vectors", "bfloat16", "bfloat16, no matrix unit"])
def operands(request, monkeypatch):
    name, _, lesser = request.param.partition(", ")
    dtype = getattr(torch, name)
    if lesser:
        if platform.machine() != "x86_64":
            pytest.skip("such CPUs are x86-64")
        monkeypatch.setattr(per_cell_cpu, "FLAGS", (*per_cell_cpu.FLAGS, *LESSER[lesser]))
        monkeypatch.setattr(per_cell_cpu, "_library", cache(per_cell_cpu._library.__wrapped__))
    if not multiplies(dtype):
        pytest.skip("this CPU has no products of bfloat16")
    return dtype


@pytest.mark.parametrize(
    "cpu", ["x86-64", "haswell", "skylake-avx512", "cooperlake", "sapphirerapids", "sapphirerapids -mno-avx512f"]
)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86-64 CPUs")
def test_the_source_is_taken_for_every_kind_of_cpu(cpu):
    """Most of them are another machine than this one."""
    flags = [
        *(flag for flag in per_cell_cpu.FLAGS if flag != "-march=native"),
        *f"-march={cpu}".split(),
        "-fsyntax-only",
    ]
    if subprocess.run(["g++", *flags, "-xc++", "/dev/null"], capture_output=True).returncode:
        pytest.skip("this compiler knows no such CPU")
    subprocess.run(["g++", *flags, per_cell_cpu.SOURCE], check=True)


def test_it_computes_what_the_network_says(network, operands):
    if operands != torch.float32:
        pytest.skip("products are rounded")
    law = network.per_cell_weights()
    x = universes(law.layers[-1][0].shape[0])
    expected, gamma = x, torch.tensor([0.0, 0.01, 0.2]).view(-1, 1, 1, 1)
    for n in range(3):
        draws = uniform(torch.tensor(SEED), torch.tensor(CLOCK) + n, (10, 53)) if law.update_rate < 1 else None
        expected, _, finite = step(network, "additive", expected, gamma, None, draws)
        assert finite.all()
    state, clock, good = fused(network, x, [3])
    assert (state - expected).abs().max() < 2e-5, "rounding alone, in three steps"
    assert (x - expected).abs().max() > 0.1, "and the universes have moved"
    assert clock.tolist() == [c + 3 for c in CLOCK]
    assert good.tolist() == [3, 3, 3]


@pytest.mark.parametrize("constraint", ["none", Box(box=(-0.25, 0.5))], ids=str)
def test_other_constraints_give_the_numbers_and_the_bits_that_the_unit_one_promises(constraint, operands):
    torch.manual_seed(1)
    network = nca(3, 17, update_rate=0.5).requires_grad_(False)
    x, gamma = universes(6), torch.tensor([0.0, 0.01, 0.2]).view(-1, 1, 1, 1)
    expected = x
    for n in range(3):
        draws = uniform(torch.tensor(SEED), torch.tensor(CLOCK) + n, (10, 53))
        expected, _, _ = step(network, "additive", expected, gamma, None, draws, constraint=constraint)
    state, _, good = fused(network, x, [3], operands=operands, constraint=constraint)
    assert (state - expected).abs().max() < (1e-5 if operands == torch.float32 else 5e-2)
    assert good.tolist() == [3, 3, 3]
    assert (state.square().sum(1) - 1).abs().max() > 0.1, "cells have any norm"
    assert constraint == "none" or (state.min() == -0.25 and state.max() == 0.5)
    assert torch.equal(fused(network, x, [1, 2], [1], operands, constraint)[0], state[1:2]), "alone"
    x[1, 0, 4, 4] = float("inf")
    broken, _, good = fused(network, x, [3], operands=operands, constraint=constraint)
    assert good[1] == 0, "a box does not hide what was infinite"
    assert torch.equal(broken[[0, 2]], state[[0, 2]])


def in_bfloat16(network, x: torch.Tensor) -> torch.Tensor:
    """What the layers say when weights and what they take are rounded to bfloat16, and nothing else is: float64."""
    law, seen = network.per_cell_weights(), x.double()
    if law.filters is not None:
        near = torch.nn.functional.pad(seen, (1, 1, 1, 1), mode="circular" if law.periodic else "constant")
        kernels = law.filters.double().transpose(0, 1).flatten(0, 1).unsqueeze(1)
        seen = torch.nn.functional.conv2d(near, kernels, groups=x.shape[1])
    for i, (weight, bias) in enumerate(law.layers):
        if i:
            seen = torch.nn.functional.elu(seen)
        rounded = [part.bfloat16().double() for part in (seen.float(), weight)]
        seen = torch.einsum("bchw,oc->bohw", *rounded) + bias.double().view(-1, 1, 1)
    return seen


def test_with_bfloat16_operands_only_products_are_rounded(network, operands):
    if operands == torch.float32:
        pytest.skip("nothing is rounded")
    law = network.per_cell_weights()
    x = universes(law.layers[-1][0].shape[0])
    y = in_bfloat16(network, x)
    if law.update_rate < 1:
        y = y * (uniform(torch.tensor(SEED), torch.tensor(CLOCK), (10, 53)) < law.update_rate)
    gamma = torch.tensor([0.0, 0.01, 0.2]).view(-1, 1, 1, 1)
    phi = x + y - gamma * x
    expected = phi / (phi.square().sum(1, keepdim=True).sqrt() + 1e-9)
    state, _, good = fused(network, x, [1], operands=torch.bfloat16)
    error = (state - expected).abs()
    assert good.tolist() == [1, 1, 1]
    # where float32 and float64 round to different bfloat16 neighbours, one product is off by 2^-8 of itself
    assert error.mean() < 2e-5
    assert error.max() < 2e-2
    assert (fused(network, x, [1])[0] - state).abs().mean() > 5 * error.mean(), "and float32 is another thing"


def test_bits_know_neither_bursts_nor_batch_mates_nor_threads(network, operands):
    x = universes(network.per_cell_weights().layers[-1][0].shape[0])
    whole, *_ = fused(network, x, [7], operands=operands)
    assert torch.equal(fused(network, x, [3, 0, 1, 3], operands=operands)[0], whole)
    assert torch.equal(fused(network, x, [7], [2, 0], operands)[0], whole[[2, 0]])
    assert torch.equal(fused(network, x, [7], [1], operands)[0], whole[1:2])
    threads = torch.get_num_threads()
    torch.set_num_threads(3 if threads == 1 else 1)
    try:
        assert torch.equal(fused(network, x, [7], operands=operands)[0], whole)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("padding", ["periodic", "zero"])
@pytest.mark.parametrize("height", [1, 2, 3, 40])
@pytest.mark.parametrize("which", [[0], [0, 1, 2]])
def test_bands_of_a_universe_wait_for_their_neighbours(which, height, padding):
    """More threads than processors, so that one is often interrupted while its neighbours go on."""
    x = universes(4, (height, 9))
    network, threads, found = nca(2, 20, padding=padding), torch.get_num_threads(), []
    try:
        for number in (1, 2, 7):
            torch.set_num_threads(number)
            found.append(fused(network, x, [1, 300], which)[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[1], found[0])
    assert torch.equal(found[2], found[0])


def test_an_empty_slot_is_skipped_and_changes_no_bit(network, operands):
    x = universes(network.per_cell_weights().layers[-1][0].shape[0])
    whole, *_ = fused(network, x, [7], operands=operands)
    tensors = tensors_of(x, [0, 1, 2])
    tensors.occupied[1] = 0
    kernel = FusedCells(network.per_cell_weights(), operands)
    for steps in (3, 0, 4):
        kernel.advance(tensors, steps)
    assert torch.equal(tensors.state[[0, 2]], whole[[0, 2]])
    assert torch.equal(tensors.state[1], x[1])
    assert (tensors.clock - torch.tensor(CLOCK)).tolist() == tensors.good.tolist() == [7, 0, 7]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_a_state_that_is_not_finite_is_counted_and_stays_in_its_universe(network, operands, bad):
    x = universes(network.per_cell_weights().layers[-1][0].shape[0])
    whole, *_ = fused(network, x, [4], operands=operands)
    x[1, 0, 4, 4] = bad
    state, _, good = fused(network, x, [1, 3], operands=operands)
    assert good[0] == good[2] == 4 > good[1]
    assert torch.equal(state[[0, 2]], whole[[0, 2]])


def test_elu_is_exact_to_rounding():
    """Two layers that are nothing but y = elu(100 x), in a step that adds them to nothing."""
    values = torch.cat([-torch.logspace(-10, 0, 500), torch.logspace(-10, 0, 500), torch.tensor([0.0, -0.0])])
    x = (
        torch.stack([values, 0.01 * torch.ones_like(values)])
        .view(1, 2, 2, 501)
        .contiguous(memory_format=torch.channels_last)
    )
    zero, same = torch.zeros(2), torch.eye(2)
    law = per_cell_cpu.PerCellWeights(None, False, [(100 * same, zero), (same, zero)])
    one = torch.ones(1, dtype=torch.int64)
    tensors = BatchTensors(copy(x), torch.zeros(1, 0), torch.ones(1, 1, 1, 1), one, one.clone(), one.clone(), one)
    FusedCells(law).advance(tensors, 1)  # gamma 1: phi = y
    phi = torch.nn.functional.elu(100 * x.double())
    expected = phi / phi.square().sum(1, keepdim=True).sqrt()
    assert (tensors.state - expected).abs().max() < 3e-7


def test_a_law_is_fused_in_the_dtype_of_its_device(tmp_path):
    law = random_law(tmp_path / "law", "MLP")
    device = Device(torch.device("cpu"), torch.bfloat16, "stand-in")

    def kernel(precision: str) -> str:
        quantized = quantize_law(law, load_weights(law), precision, device.operands)
        return ResidentLaw(quantized, device, compiled=CompiledSteps(device.threads), on_degraded=pytest.fail).kernel

    assert kernel("nf4") == ("fused" if multiplies(torch.bfloat16) else "inductor")
    assert kernel("fp32") == "fused"


def test_products_of_others_are_what_they_were_after_a_burst(operands):
    """oneDNN multiplies in the same threads and sets up their matrix units for itself."""
    torch.manual_seed(0)
    x, conv = torch.randn(2, 32, 40, 40).bfloat16(), torch.nn.Conv2d(32, 48, 3).bfloat16().requires_grad_(False)
    a, b = torch.randn(2, 300, 300).bfloat16()
    law = MLP(8, 64).requires_grad_(False)
    before = conv(x), a @ b, fused(law, universes(16), [2], operands=operands)[0]
    again = [(conv(x), fused(law, universes(16), [2], operands=operands)[0], a @ b, conv(x)) for _ in range(3)]
    for first, state, product, second in again:
        assert torch.equal(first, before[0])
        assert torch.equal(second, before[0])
        assert torch.equal(product, before[1])
        assert state.shape == before[2].shape
        assert state.isfinite().all()


@pytest.mark.parametrize("name", ["mlp", "deep_qca"])
def test_the_engine_meets_the_oracle_by_it(name, engines, tmp_path):
    law = oracle(name, tmp_path)
    record = (Recording(field="psi", every=1),)
    run = a_run(law.bundle, steps=10, precision="fp32", initial=law.psi[0], record=record)
    engine = engines(compile=True)
    engine.submit(run)
    psi = run.sink.wait().psi()
    assert run.computed_by["kernel"] == "fused"
    assert deviation(name, psi[1], law.psi[1]) < 1e-5
    assert deviation(name, psi[10], law.psi[10]) < 1e-3
    assert np.array_equal(psi[0], law.psi[0])


def test_without_a_compiler_it_is_said_and_the_law_is_left_to_inductor(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(per_cell_cpu, "_library", per_cell_cpu._library.__wrapped__)
    with pytest.raises(KernelBuildError, match="no-such-compiler"):
        FusedCells(MLP(2, 8).requires_grad_(False).per_cell_weights())
    law, said, device = random_law(tmp_path / "law", "MLP"), [], pick_device("cpu")
    quantized = quantize_law(law, load_weights(law), "fp32", device.operands)
    resident = ResidentLaw(quantized, device, compiled=CompiledSteps(device.threads), on_degraded=said.append)
    assert resident.kernel == "inductor"
    assert len(said) == 1
    assert "no fused step: no-such-compiler" in said[0]


def test_what_was_built_is_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(per_cell_cpu, "_folder", lambda: tmp_path / "kernels")
    first = per_cell_cpu.built()
    made = first.stat().st_mtime_ns
    assert per_cell_cpu.built() == first
    assert first.stat().st_mtime_ns == made
    assert [path.name for path in first.parent.iterdir()] == [first.name], "nothing else is left"
