"""Every kind of network that a fused kernel steps."""

from __future__ import annotations

import pytest
import torch

from tests.support.per_cell import NETWORKS


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(3)
    made = NETWORKS[request.param]().requires_grad_(False)
    for name, weight in made.named_parameters():
        if "conv_neighbors" not in name and "perceive" not in name:
            weight.normal_(0, 0.3)
    return made
