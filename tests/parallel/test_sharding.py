import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from entropy_rl.errors import InputError
from entropy_rl.models import presets
from entropy_rl.models.transformer import RULES
from entropy_rl.parallel import sharding
from entropy_rl.training import learner, optimizer


def test_every_path_of_the_train_state_has_a_rule():
    for overrides in ({"tied": False, "qkv_bias": True}, {"head": "value"}):
        model = presets.make("test", 24, **overrides)
        state = learner.abstract_state(
            model, optimizer.make_optimizer(optimizer.make_schedule(1.0)), sharding.make_mesh(devices=jax.devices()[:1])
        )
        assert all(isinstance(x.sharding, jax.sharding.NamedSharding) for x in jax.tree.leaves(state))


def test_rules_by_hand():
    """Axes that cut nothing are left out, or the first update and the second would be two programs."""
    mesh = AbstractMesh((1, 2, 2), sharding.AXES)
    tree = {"mu": {"layer_0": {"attention": {"q": {"kernel": jnp.zeros((4, 6))}}}}, "count": jnp.zeros(())}
    got = sharding.infer_sharding(tree, RULES, mesh)
    assert got["mu"]["layer_0"]["attention"]["q"]["kernel"].spec == P("fsdp", "tensor")
    assert got["count"].spec == P()
    by_hand = {
        (1, 1, 2): P(None, "tensor"),
        (4, 2, 1): P("fsdp"),
        (8, 1, 1): P(),
        (1, 3, 2): P(None, "tensor"),  # 3 does not divide 4
    }
    for shape, spec in by_hand.items():
        got = sharding.infer_sharding(tree, RULES, AbstractMesh(shape, sharding.AXES))
        assert got["mu"]["layer_0"]["attention"]["q"]["kernel"].spec == spec


def test_what_no_rule_matches_is_named():
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    with pytest.raises(ValueError, match="no sharding rule matches novel/kernel"):
        sharding.infer_sharding({"novel": {"kernel": jnp.zeros((2, 2))}}, RULES, mesh)
    with pytest.raises(ValueError, match="has 2 axes and q/kernel has shape"):
        sharding.infer_sharding({"q": {"kernel": jnp.zeros((2, 2, 2))}}, RULES, mesh)


def test_a_mesh_that_does_not_fit_is_named():
    with pytest.raises(InputError, match="mesh data=3 fsdp=1 tensor=1 needs 3 devices and there are 1"):
        sharding.make_mesh(data=3, devices=jax.devices()[:1])


class Chip:
    """As much of a TPU's device as jax reads to order a mesh: chips of v5p, 2x2x1 each slice."""

    platform, device_kind, core_on_chip = "tpu", "TPU v5", 0

    def __init__(self, slice_index, x, y):
        self.slice_index, self.coords, self.id = slice_index, (x, y, 0), 4 * slice_index + 2 * y + x
        self.process_index = slice_index

    def __repr__(self):
        return f"slice {self.slice_index} {self.coords}"


@pytest.mark.parametrize("shape, axis", [((2, 2, 2), 0), ((1, 4, 2), 1), ((4, 1, 2), 0)])
def test_slices_are_cut_by_data_or_fsdp(shape, axis):
    """Whatever the order in which the devices come, tensor stays in a slice. Mutation: a reshape of the list."""
    chips = [Chip(s, x, y) for y in (0, 1) for x in (0, 1) for s in (0, 1)]
    grid = sharding._grid(shape, chips)
    assert grid.shape == shape and len(set(grid.flat)) == 8
    for part in np.split(grid, 2, axis=axis):
        assert len({d.slice_index for d in part.flat}) == 1


def test_slices_that_no_axis_of_rows_can_share_are_said():
    with pytest.raises(InputError, match="tensor=8 on 2 slices: give data, or fsdp, as a multiple of 2"):
        sharding._grid((1, 1, 8), [Chip(s, x, y) for s in (0, 1) for y in (0, 1) for x in (0, 1)])
