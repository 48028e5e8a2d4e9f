"""entropy_rl/training/checkpoints.py: what is restored is, bit for bit, what was saved, or it is not used."""

import os
import shutil
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
import pytest
import tensorstore

from entropy_rl.errors import InputError
from entropy_rl.training.checkpoints import Checkpoints, restore_params, steps
from tests.training import saving
from tests.training.saving import abstract, bits, halve


@flax.struct.dataclass
class State:
    step: jax.Array
    params: Any
    opt_state: Any


def make_state(seed=0, width=64, layers=3):
    keys = jax.random.split(jax.random.key(seed), layers)
    params = {
        f"layer_{i}": {"w": jax.random.normal(k, (width, 32)), "b": jax.random.normal(k, (32,), jnp.bfloat16)}
        for i, k in enumerate(keys)
    }
    params["odd"] = {"nan": jnp.array([jnp.nan, -0.0, 1e-45]), "on": jnp.array(True)}
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    floats = {k: v for k, v in params.items() if k != "odd"}
    return State(jnp.int32(seed), params, tx.init(floats))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A workdir with checkpoints 3 and 4 of make_state(3) and make_state(4); tests copy it."""
    workdir = tmp_path_factory.mktemp("saved")
    with Checkpoints(workdir / "checkpoints") as c:
        for step in (2, 3, 4):
            c.save(step, make_state(step), {"cursor": step, "name": "ä"})
    return workdir


@pytest.fixture
def copy(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


def restore(workdir, state=None):
    return saving.restore(workdir, make_state() if state is None else state)


def test_bitwise(copy):
    (step, state, meta), said = restore(copy)
    assert (step, meta, said) == (4, {"cursor": 4, "name": "ä"}, [])
    assert isinstance(state, State) and bits(state) == bits(make_state(4))
    assert jax.tree.structure(state) == jax.tree.structure(make_state(4))
    assert sorted(p.name for p in (copy / "checkpoints").iterdir()) == ["3", "4"]  # keep=2


def test_nothing_there(tmp_path):
    assert restore(tmp_path) == (None, [])


def bytes_read():
    name = "/tensorstore/kvstore/file/bytes_read"
    found = tensorstore.experimental_collect_matching_metrics(name, include_zero_metrics=True)
    return sum(value["value"] for row in found for value in row["values"])


def test_every_byte_is_read_once(tmp_path):
    """Of a state, and of the parameters alone. Mutation: a reading through beforehand."""
    state = make_state(3, width=4096)
    mu = state.opt_state[1][0].mu  # zeros would hardly take any
    mu.update(jax.tree.map(lambda x: x + jax.random.normal(jax.random.key(1), x.shape, x.dtype), mu))
    with Checkpoints(tmp_path / "checkpoints") as c:
        c.save(3, state, {})
    stored = sum(p.stat().st_size for p in (tmp_path / "checkpoints" / "3" / "state").rglob("*") if p.is_file())
    start = bytes_read()
    restore(tmp_path, state)
    whole = bytes_read() - start
    restore_params(tmp_path, abstract(state.params))
    part = bytes_read() - start - whole
    assert 0.5 * stored < whole < 1.2 * stored
    assert 0.3 * stored < part < 0.7 * stored


def test_a_folder_given_with_dots(copy):
    """`--workdir=../x`. Mutation: Path.absolute, which keeps the dots, and every checkpoint looks damaged."""
    (copy / "sub").mkdir()
    dotted = copy / "sub" / ".."
    (step, state, _), said = restore(dotted)
    assert (step, said) == (4, []) and bits(state) == bits(make_state(4))
    assert bits(restore_params(dotted, abstract(state.params))) == bits(state.params)


def test_restored_state_may_be_donated(copy):
    """A restored array may alias the host memory that it was read into."""
    overwrite = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 if x.dtype != bool else ~x, s), donate_argnums=0)
    with Checkpoints(copy / "checkpoints") as c:
        jax.block_until_ready(overwrite(c.restore_latest(abstract(make_state()))[1]))
        assert bits(c.restore_latest(abstract(make_state()))[1]) == bits(make_state(4))


@pytest.mark.parametrize("size", [7, 300_000])
def test_donating_right_after_save(tmp_path, size):
    """The training step gives its state's memory away while the save is still writing."""
    step = jax.jit(lambda s: jax.tree.map(lambda x: x * 1.5 + 1, s), donate_argnums=0)
    copy = jax.jit(lambda s: jax.tree.map(jnp.copy, s))
    state = {f"w{i}": jax.random.normal(jax.random.key(i), (size,)) for i in range(4)}
    expected = {}
    with Checkpoints(tmp_path / "checkpoints", keep=4) as c:
        for n in range(3):
            expected[n] = bits(copy(state))  # not bits(state): a view on it would keep it from being donated
            c.save(n, state, {})
            for _ in range(3):
                state = step(state)
            jax.block_until_ready(state)
    for n in reversed(range(3)):
        (at, restored, _), said = restore(tmp_path, state)
        assert (at, said) == (n, []) and bits(restored) == expected[n]
        shutil.rmtree(tmp_path / "checkpoints" / str(n))


def test_a_buffer_that_changes_during_a_save_is_found_out(tmp_path):
    """Should the runtime ever hand out memory that a save still reads, the checksums tell."""
    state = {"w": jax.random.normal(jax.random.key(0), (100_000,)), "b": jnp.ones(3)}
    pointer = state["w"].unsafe_buffer_pointer()
    with Checkpoints(tmp_path / "checkpoints") as c:
        c.save(0, state, {})
        c.wait()
        save, c._manager.save = c._manager.save, None

        def late(step, args):
            import ctypes

            ctypes.memset(pointer, 0, 4)  # after the checksums were taken
            save(step, args=args)

        c._manager.save = late
        c.save(1, state, {})
    (step, _, _), said = restore(tmp_path, state)
    assert step == 0 and "the values of w are not those that were saved" in said[0]


# Each way to harm a file, and each file that is read.
def empty(path):
    os.truncate(path, 0)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 64
    path.write_bytes(data)


def data_files(step):
    return sorted((step / "state" / "ocdbt.process_0" / "d").iterdir(), key=lambda p: p.stat().st_size)


@pytest.mark.parametrize("harm", [empty, halve, flip, os.remove], ids=lambda f: f.__name__)
@pytest.mark.parametrize("which", ["data", "index", "manifest.ocdbt", "meta"])
def test_damaged_is_set_aside_and_the_one_before_is_used(copy, capfd, harm, which):
    step = copy / "checkpoints" / "4"
    path = {
        "data": lambda: data_files(step)[-1],
        "index": lambda: next((step / "state" / "d").iterdir()),
        "meta": lambda: step / "meta" / "metadata",
    }.get(which, lambda: step / "state" / which)()
    harm(path)
    (at, state, meta), said = restore(copy)
    assert at == 3 and meta["cursor"] == 3 and bits(state) == bits(make_state(3))
    (message,) = said
    assert message.startswith("checkpoint 4 is damaged") and str(copy / "set_aside") in message
    assert [p.name for p in (copy / "set_aside").iterdir()] == ["checkpoints.4"]
    assert capfd.readouterr().err == ""  # no tracebacks from orbax' threads
    assert restore(copy)[0][0] == 3 and restore(copy)[1] == []


@pytest.mark.parametrize("harm", [halve, os.remove], ids=lambda f: f.__name__)
def test_damage_to_what_only_orbax_reads_costs_nothing(copy, harm):
    """Every value has its checksum, whatever stands beside it."""
    harm(copy / "checkpoints" / "4" / "state" / "_METADATA")
    (at, state, _), said = restore(copy)
    assert (at, said) == (4, []) and bits(state) == bits(make_state(4))


def test_a_flipped_bit_in_any_data_file_is_found(copy):
    for path in data_files(copy / "checkpoints" / "4"):
        shutil.rmtree(copy.parent / "again", ignore_errors=True)
        shutil.copytree(copy, copy.parent / "again")
        flip(copy.parent / "again" / path.relative_to(copy))
        (_, state, _), said = restore(copy.parent / "again")
        assert bits(state) == bits(make_state(3)) if said else bits(state) == bits(make_state(4))


def test_all_damaged_is_an_error_once(copy):
    for step in ("3", "4"):
        halve(data_files(copy / "checkpoints" / step)[-1])
    with pytest.raises(InputError, match=r"no good checkpoint is left.*4, 3.*starts from step 0"):
        restore(copy)
    assert restore(copy) == (None, [])
    assert len(list((copy / "set_aside").iterdir())) == 2


def test_set_aside_twice_under_the_same_name(copy):
    for _ in range(2):
        (copy / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir()
        assert restore(copy)[0][0] == 4
    names = sorted(p.name for p in (copy / "set_aside").iterdir())
    assert names == ["checkpoints.5.orbax-checkpoint-tmp", "checkpoints.5.orbax-checkpoint-tmp.1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: make_state(layers=4), r"params\.layer_3\.b is missing in it"),
        (lambda s: make_state(layers=2), r"params\.layer_2\.b is in it and not in this run"),
        (lambda s: make_state(width=16), r"params\.layer_0\.w has shape \(64, 32\) in it and \(16, 32\) here"),
        (
            lambda s: s.replace(opt_state=jax.tree.map(lambda x: x.astype(jnp.float32), s.opt_state)),
            r"opt_state\.\S* is int32 in it and float32 here",
        ),
    ],
)
def test_other_models_are_named_and_nothing_is_set_aside(copy, change, message):
    with pytest.raises(InputError, match=message + ".*config") as e:
        restore(copy, change(make_state()))
    assert "\n" not in str(e.value)
    assert restore(copy)[0][0] == 4


def test_out_of_memory_is_not_blamed_on_the_checkpoint(copy, monkeypatch):
    def full(*args, **kwargs):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(jax, "make_array_from_callback", full)
    with pytest.raises(jax.errors.JaxRuntimeError):
        restore(copy)
    monkeypatch.undo()
    assert restore(copy)[0][0] == 4


def test_steps_in_order(copy):
    with Checkpoints(copy / "checkpoints") as c:
        c.save(4, make_state(9), {})  # is there already: kept as it is
        with pytest.raises(ValueError, match="earlier step 1"):
            c.save(1, make_state(1), {})
    assert bits(restore(copy)[0][1]) == bits(make_state(4))


def test_keep(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep=1) as c:
        for step in range(3):
            c.save(step, {"w": jnp.ones(2)}, {})
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["2"]
    with pytest.raises(InputError, match="keep is 0"):
        Checkpoints(tmp_path, keep=0)


def test_directory_that_is_a_file(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(InputError, match="another workdir"):
        Checkpoints(tmp_path / "checkpoints")


def test_params_alone(copy):
    wanted = abstract(make_state().params)
    assert bits(restore_params(copy, wanted)) == bits(make_state(4).params)
    assert bits(restore_params(copy / "checkpoints", wanted)) == bits(make_state(4).params)
    half = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16, sharding=x.sharding), wanted)
    halved = restore_params(copy, half)
    for name in ("layer_0", "layer_1"):
        assert bits(halved[name]) == bits(jax.tree.map(lambda x: x.astype(jnp.bfloat16), make_state(4).params[name]))


def test_params_of_a_step(copy):
    wanted = abstract(make_state().params)
    assert steps(copy) == steps(copy / "checkpoints") == [3, 4] and steps(copy / "nothing") == []
    assert bits(restore_params(copy, wanted, step=3)) == bits(make_state(3).params)
    with pytest.raises(InputError, match="no good checkpoint 5"):
        restore_params(copy, wanted, step=5)


def test_params_of_a_damaged_checkpoint_are_not_used_and_nothing_is_moved(copy):
    flip(data_files(copy / "checkpoints" / "4")[-1])
    said = []
    try:
        params = restore_params(copy, abstract(make_state().params), say=said.append)
    finally:
        assert not (copy / "set_aside").exists() and (copy / "checkpoints" / "4").is_dir()
    # the flipped bit may be in the optimizer's part, which is not read
    assert bits(params) == bits(make_state(3 if said else 4).params)


def test_params_that_are_not_there(copy, tmp_path):
    with pytest.raises(InputError, match=r"params\.layer_3\.b is missing in it"):
        restore_params(copy, abstract(make_state(layers=4).params))
    with pytest.raises(InputError, match="holds no good checkpoint"):
        restore_params(tmp_path / "nothing", abstract(make_state().params))
