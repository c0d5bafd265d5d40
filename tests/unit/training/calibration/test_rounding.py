"""Learning which of two levels a weight takes starts at the given codes and lowers the loss of the closed loop."""

from __future__ import annotations

import torch

from leym.quantization.nf4 import NF4
from leym.training.calibration import gptq, rounding
from leym.training.calibration.network import called_modules, hessian, nf4_layer, set_code, student, teacher
from leym.training.calibration.states import attractor
from tests.support.laws import random_law


def prepared(tmp_path, architecture="MLP", **options):
    law = random_law(tmp_path / "law", architecture, d=2, c=16, **options)
    parent, made = teacher(law), student(law)
    states = attractor(law, parent, (8, 8), seeds=range(4), first=20, last=40, every=10)
    layers = {}
    for name, module in called_modules(law, made, states):
        if layer := nf4_layer(law, name, module):
            rounded = gptq.encode(layer, module.weight, hessian(law, made, layer, states))
            set_code(layer, rounded.code)
            layers[layer.key] = (layer, rounded)
    return law, parent, made, states, layers


def test_the_latent_begins_with_the_codes_and_passes_its_gradient_through(tmp_path):
    *_, layers = prepared(tmp_path, "UNET_UNITARY", form="diagonal")
    for layer, rounded in layers.values():
        latent = rounding.Latent.start(layer, rounded.code, rounded.aimed)
        assert torch.equal(latent.code().packed, rounded.code.packed)
        assert torch.equal(latent.kernel().detach(), rounded.code.decode(torch.float32))
        latent.kernel().sum().backward()
        assert torch.isfinite(latent.v.grad).all()
        assert ((latent.v >= 0) & (latent.v <= 1)).all()


def test_the_loss_is_zero_for_the_law_itself_and_positive_for_another(tmp_path):
    law, parent, made, states, _ = prepared(tmp_path)
    nudge = torch.full_like(states.x, 0.01)
    wanted = rounding.follow(law.manifest, parent, states, nudge, 0.01)
    assert rounding.loss(wanted, wanted) == 0
    assert rounding.loss(rounding.follow(law.manifest, made, states, nudge, 0.01), wanted) > 0
    # in another batch a product may be summed in another order
    torch.testing.assert_close(wanted.path[0], states.next(law.manifest, parent, 0.01).x, rtol=0, atol=1e-6)


def test_updates_never_leave_more_loss_on_held_out_states_and_usually_less(tmp_path, monkeypatch):
    monkeypatch.setattr(rounding, "RATE", 0.05)  # few weights, few updates
    law, parent, made, states, layers = prepared(tmp_path)
    latents = {key: rounding.Latent.start(layer, x.code, x.aimed) for key, (layer, x) in layers.items()}
    codes = rounding.learn(law.manifest, parent, made, latents, states, gamma=0.01, updates=40, seed=1)

    later, nudges = rounding.aligned(law.manifest, parent, states, torch.Generator().manual_seed(1), 0.01)
    held = torch.arange(len(states))[-len(states) // 4 :]
    wanted = rounding.follow(law.manifest, parent, later[held], nudges[held], 0.01)

    def left(chosen: dict[str, NF4]) -> float:
        for key, code in chosen.items():
            set_code(layers[key][0], code)
        return float(rounding.loss(rounding.follow(law.manifest, made, later[held], nudges[held], 0.01), wanted))

    assert left(codes) < left({key: x.code for key, (_, x) in layers.items()})
    assert all(torch.equal(code.absmax, layers[key][1].code.absmax) for key, code in codes.items())
