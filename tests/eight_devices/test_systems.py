"""Every system on a mesh of eight devices, from a folder: rows of data, parameters cut by fsdp and tensor."""

import pytest

from tests.experiments import systems

MESH = {"data": 2, "fsdp": 2, "tensor": 2}


given = systems.given


@pytest.mark.slow
@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_every_system_runs_on_a_mesh(name, given, tmp_path):
    """Trainers with adapters. Mutation: arrays of a step that are put on one device."""
    adapters = {"lora.rank": 2} if name in systems.TRAINERS else {}
    systems.run(name, given, tmp_path / "out", mesh=MESH, **adapters)
    assert any((tmp_path / "out").iterdir())
