"""The table of tensor shapes against every network."""

from __future__ import annotations

import pytest

from leym.laws.architectures import architectures
from leym.laws.bundle import Manifest
from leym.laws.importing.expected_shapes import expected_shapes
from leym.laws.loading import empty_network
from tests.support.checkpoints import (
    REQUIRED,
)


@pytest.mark.parametrize("name", architectures())
def test_the_table_of_shapes_is_what_the_networks_have(name):
    for d, c in ((2, 4), (3, 8), (5, 12)):
        fields = {"d_state": d, "hidden_channels": c, "form": architectures()[name].form}
        manifest = Manifest(name="x", architecture=name, options=REQUIRED.get(name, {}), **fields)
        assert expected_shapes(name, d, c) == {
            k: tuple(v.shape) for k, v in empty_network(manifest).state_dict().items()
        }
