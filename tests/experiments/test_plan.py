"""experiments/plan.py and what it stands on: arithmetic by hand, a program's text, chips that are not there."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import textwrap
import types

import pytest

from configs import plan as ready
from entropy_rl.errors import InputError
from entropy_rl.models import presets
from entropy_rl.models.attention import ATTENTION
from experiments import plan
from experiments.hardware import chips, hlo, plan_report
from experiments.lib import launch

ROOT = pathlib.Path(__file__).parents[2]

CUT = ("--config.mesh.fsdp=2", "--config.mesh.tensor=2")
PROGRAM = """\
HloModule jit_f

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%inner_body (p: (s32[], bf16[8,4])) -> (s32[], bf16[8,4]) {
  %x = bf16[8,4]{1,0} get-tuple-element(%p), index=1
  %gather = bf16[16,4]{1,0} all-gather(%x), replica_groups=[4,2]<=[8], dimensions={0}
  ROOT %t = (s32[], bf16[8,4]) tuple(%i, %x)
}

%inner_condition (p: (s32[], bf16[8,4])) -> pred[] {
  %limit.3 = s32[]{:T(128)} constant(5)
  ROOT %less = pred[] compare(%i, %limit.3), direction=LT
}

%body (p: (s32[], bf16[8,4])) -> (s32[], bf16[8,4]) {
  %w = (s32[], bf16[8,4]) while(%p), condition=%inner_condition, body=%inner_body
  %scatter = f32[2]{0} reduce-scatter(%y), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%sum
  %other = f32[3]{0} reduce-scatter(%y), replica_groups=mesh['a'=2,'b'=4] {'a','b'}, to_apply=%sum
  ROOT %t = (s32[], bf16[8,4]) tuple(%i, %x)
}

%condition (p: (s32[], bf16[8,4])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: f32[10]) -> f32[10] {
  %w = (s32[], bf16[8,4]) while(%t), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %start = (f32[10]{0}, f32[20]{0}) all-gather-start(%a), replica_groups=[4,2]<=[8], dimensions={0}
  %done = f32[20]{0} all-gather-done(%start)
  ROOT %r = f32[10]{0} all-reduce(%a), to_apply=%sum
}
"""


def test_collectives_of_a_program():
    """Loops in loops, their lengths noted or compared with; started ones once; a sum goes round twice. Mutations:
    bodies counted once, an operand of a started gather counted as its result."""
    found, known = hlo.collectives(PROGRAM)
    assert known
    assert found == {
        "all-gather": (15 + 1, 15 * 16 * 4 * 2 + 80),
        "reduce-scatter": (6, 3 * (2 * 4 * 4 + 3 * 4 * 8)),
        "all-reduce": (1, 80),
    }


def test_a_loop_of_unknown_length_is_said():
    text = PROGRAM.replace("constant(5)", "parameter(0)")
    found, known = hlo.collectives(text)
    assert not known and found["all-gather"] == (3 + 1, 3 * 128 + 80)
    assert hlo.collectives(text.replace("all-gather(", "negate("))[1], "a loop without any may be of any length"


@pytest.mark.parametrize("kv_heads, tensor, said", [(8, 4, 0), (2, 4, 1), (2, 2, 0)])
def test_heads_that_do_not_divide_are_said(kv_heads, tensor, said):
    mesh = types.SimpleNamespace(shape={"tensor": tensor})
    lines = plan.whole_heads(presets.make("test", 24, heads=8, kv_heads=kv_heads).config, mesh)
    assert len(lines) == said and all("keys and values are whole on each of the 4 devices" in x for x in lines)


class Mesh:
    """As much of a mesh as the arithmetic reads."""

    shape, size = {"data": 2, "fsdp": 1, "tensor": 4}, 8


def test_bounds_by_hand():
    """Per device. Mutations: an untied embedding that is multiplied, a cache that tensor does not cut, masked blocks
    left out of all kinds of attention."""
    m = presets.make("test", 100, kv_heads=4, remat="block", tied=False).config
    assert (m.d_model, m.layers, m.heads, m.head_dim) == (32, 2, 4, 8)
    work = plan.Work(prompts=4, samples=4, prompt=10, response=30, slots=8, microbatches=2)
    size, head = 50_000, 100 * 32
    got = plan.learning_bounds(m, size, Mesh, work)
    plain = 6 * (size - 2 * head) * 4 / 3 + 8 * head
    assert got["flops"] == pytest.approx(16 * 40 * (plain + 2 * 2 * 4 * 8 * 40 * (2 + 2 + 4)) / 8)
    # splash leaves out half of the keys, and makes the scores three times more
    kernel = dataclasses.replace(m, attention="splash")
    of_kernel = plan.learning_bounds(kernel, size, Mesh, work)["flops"]
    assert of_kernel == pytest.approx(16 * 40 * (plain + 2 * 2 * 4 * 8 * 20 * (2 + 2 + 7)) / 8)
    # of which a window of 10 leaves 10 tokens but where fewer came before; all scores are made all the same
    for m_, saved in ((m, 0), (kernel, 2 * 4 * 8 * (40 / 2 - (10 * 30 + 10 * 10 / 2) / 40) * (2 + 2 + 7))):
        local = plan.learning_bounds(dataclasses.replace(m_, windows=(10, 0)), size, Mesh, work)["flops"]
        assert plan.learning_bounds(m_, size, Mesh, work)["flops"] - local == pytest.approx(16 * 40 * saved / 8)
    assert set(plan.PRODUCTS) == set(ATTENTION)
    # float32: two micro-batches in three passes; parameters, masters' place and two moments are read and written
    assert got["bytes"] == pytest.approx(2 * 3 * size * 4 / 4 + 2 * size * 16 / 8)
    got = plan.sampling_bounds(m, size, Mesh, work)
    assert got["flops"] == pytest.approx(8 * (2 * (size - head) + 4 * 2 * 32 * 40) / 8)
    assert got["bytes"] == pytest.approx((size - head) * 4 / 4 + 8 / 2 * 2 * 2 * 32 * 40 * 4 / 4)
    # of 6 experts of one layer a token goes to 2: the others take no arithmetic, and are read all the same
    mixed = dataclasses.replace(m, experts=6, experts_per_token=2, d_expert=5, sparse=(True, False))
    less = plan.sampling_bounds(mixed, size, Mesh, work)
    assert got["flops"] - less["flops"] == pytest.approx(8 * 2 * 4 * 3 * 32 * 5 / 8) and got["bytes"] == less["bytes"]


def test_chips():
    chip, count = chips.parse("v5e:4x8")
    assert (chip.flops, chip.memory, count) == (197e12, 16e9, 32)
    for c in chips.CHIPS.values():  # figures of one kind: a wrong power of ten would stand out
        assert 1e14 < c.flops < 2e15 and 1e10 < c.memory < 2e11 and 5e11 < c.bandwidth < 1e13 and 1e11 < c.link < 1e12
    for bad, message in (("v5f:2x2", "unknown chip 'v5f'.*did you mean"), ("v5e", "v5e:4x4"), ("h100:0", "h100:8")):
        with pytest.raises(InputError, match=message):
            chips.parse(bad)


def result(peak=10e9, of_state=4e9, cache=1e9, **work):
    work = {"rows": 64, "microbatches": 4, "remat": "block", "attention": "chunked", "gather_weights": False} | work
    state, mesh = {"parameters": of_state}, {"data": 2, "fsdp": 4, "tensor": 1}
    programs = {"update": {"peak": peak}, "decode step": {"peak": peak}}
    return {"programs": programs, "capacity": 16e9, "work": work, "state": state, "cache": cache, "mesh": mesh}


@pytest.mark.parametrize(
    "made, update, decode",
    [
        ({}, "update: fits, 6.00 GB to spare", "fits"),
        ({"peak": 17e9}, "1.00 GB too much: 2 rows a device at a time: raise work.microbatches", "raise mesh.tensor"),
        ({"peak": 17e9, "microbatches": 8, "remat": "none"}, "give remat=block", "lower work.slots"),
        ({"peak": 17e9, "microbatches": 8, "attention": "naive"}, "give attention=chunked", "lower work.slots"),
        ({"peak": 17e9, "microbatches": 8}, "raise mesh.tensor, or lower work.response", "lower work.slots"),
        ({"peak": 17e9, "cache": 5e9}, "raise work.microbatches", "the cache takes 5.00 GB: lower work.slots"),
        ({"peak": 17e9, "of_state": 15e9}, "15.00 GB: raise mesh.fsdp", "or give state_dtype=bfloat16"),
    ],
)
def test_what_does_not_fit_is_said_with_what_helps(made, update, decode):
    lines = plan_report.advice(result(**made), 8)
    assert update in lines[0] and decode in lines[1] and len(lines) == 2


@pytest.mark.parametrize(
    ("made", "said"), [({}, 1), ({"gather_weights": True}, 0), ({"wires": 0.1}, 0), ({"of_state": 1.6e9}, 0)]
)
def test_weights_that_decode_steps_send_and_need_not(made, said):
    """1.4 GB of weights, 5.6 where fsdp does not cut them, and 6 to spare. Mutation: without regard to the room."""
    wires = made.pop("wires", 0.3)
    found = result(**{"of_state": 1.4e9} | made)
    found["programs"]["decode step"]["seconds"] = {"interconnect": wires, "memory": 0.2}
    lines = plan_report.advice(found, 8)[2:]
    assert len(lines) == said and (not said or "work.gather_weights=True" in lines[0] and "5.60 GB more" in lines[0])


def run(tmp_path, *flags, python=sys.executable):
    command = [python, "-m", "experiments.plan", f"--workdir={tmp_path / 'out'}", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_programs_that_were_compiled_are_not_compiled_again(tmp_path, monkeypatch, capsys):
    """Of the same commit. Mutations: of any commit; of one with changes."""
    made = []
    monkeypatch.setattr(plan, "compiled", lambda lowered: made.append(lowered) or {"memory": 2e9, "of": lowered})
    for commit, count in (("a", 1), ("a", 1), ("b", 2), ("b-dirty", 3), ("b-dirty", 4), (None, 5), ("b", 5)):
        monkeypatch.setattr(plan.workdirs, "git_commit", lambda commit=commit: commit)
        assert plan.Kept(tmp_path / "rows").row("update", lambda: "program") == {"memory": 2e9, "of": "program"}
        assert len(made) == count, commit
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["update: 2.00 GB, compiled in 0 s", "update: 2.00 GB, as found before"]


@pytest.mark.slow
def test_on_eight_devices_of_the_host(tmp_path):
    """Mesh of all axes: state, cache and peak on one device, collectives of all micro-batches."""
    done = run(tmp_path, "--config=configs/plan.py:smoke,h100:8", *CUT)
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "out" / "plan.json").read_text())
    update, decode = made["programs"]["update"], made["programs"]["decode step"]
    # matrices of bfloat16 are cut over fsdp and tensor; masters and moments are float32
    assert 2 * made["parameters"] / 4 <= made["state"]["parameters"] < 2.2 * made["parameters"] / 4
    assert made["state"]["optimiser"] == pytest.approx(6 * made["state"]["parameters"], rel=0.01)
    assert (
        made["cache"] == 2 * 2 * (32 / 4) * (2 / 2) * 24 * 8 * 2
    )  # k and v, layers, slots, heads, columns, size, bytes
    assert list(made["programs"]) == "update,decode step,prefill,empty,insert,compact,score,checkpoint".split(",")
    for name in ("empty", "insert", "compact"):  # local to a device
        assert not made["programs"][name]["collectives"], name
        assert made["programs"][name]["peak"] < made["state"]["optimiser"] + made["state"]["parameters"] + 2e5
    assert update["peak"] > update["temporaries"] and update["loops_known"]
    assert update["collectives"]["all-gather"][0] > 4 * 2 * 7, "each of 4 micro-batches gathers 2 layers of 7 kernels"
    assert decode["peak"] >= made["state"]["optimiser"] + made["state"]["parameters"] + made["cache"]
    assert "update: fits" in done.stdout and "an update fits with micro-batches of up to" in done.stdout
    assert made["step_seconds"]["memory"] == pytest.approx(
        update["seconds"]["memory"] + made["ticks"] * decode["seconds"]["memory"]
    )


BAD = {
    "hardware=h10:8": "unknown chip 'h10' (did you mean 'h100'?)",
    "mesh.fsdp=3": "mesh data=1 fsdp=3 tensor=2 needs 6 devices and there are 8",
    "work.microbatches=3": "work.microbatches=3 does not divide the 32 rows",
    "work.slots=6": "the slots are 6, which mesh.data * mesh.fsdp = 4 does not divide",
    "model.name=qwen": "unknown model preset 'qwen'",
    "attention=splash": "config.attention=splash is for TPUs, and hardware=h100:8: give chunked",
}


def test_bad_input(tmp_path):
    """In one process, which has eight devices."""
    code = """
        import json, sys
        from entropy_rl.errors import InputError
        from experiments import plan
        from experiments.lib import launch
        for change in sys.argv[2:]:
            config = launch.load_config("configs/plan.py:smoke,h100:8")
            key, value = change.split("=")
            changes = {"mesh.fsdp": 2, "mesh.tensor": 2, key: int(value) if value.isdigit() else value}
            config.update_from_flattened_dict(changes)
            try:
                plan.run(config, sys.argv[1])
            except InputError as e:
                print(json.dumps(str(e)))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "out"), *BAD]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == len(BAD), done.stderr
    for line, message in zip(said, BAD.values()):
        assert message in line and "\n" not in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_on_a_tpu_that_is_not_there(tmp_path):
    """libtpu compiles for 8 chips of v5e; in an environment of its own, which `make test-slow` makes: where libtpu is
    installed, jax looks for a TPU in every process."""
    python = ROOT / ".venv-tpu" / "bin" / "python"
    assert python.exists(), "make .venv-tpu/installed"
    done = run(tmp_path, "--config=configs/plan.py:smoke,v5e:2x4", *CUT, python=str(python))
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "out" / "plan.json").read_text())
    update = made["programs"]["update"]
    assert made["capacity"] == 16e9 and made["chips"] == 8
    assert update["loops_known"] and update["collectives"]["all-gather"][0] > 4 * 2 * 7
    assert made["state"]["optimiser"] < update["peak"] < 1e9


def test_ready_settings_are_meshes_of_their_hardware():
    for name, hardware in ready.READY:
        c = launch.load_config(f"configs/plan.py:{name},{hardware}")
        _, count = chips.parse(hardware)
        assert count % (c.mesh.fsdp * c.mesh.tensor) == 0
        rows = c.work.prompts * c.work.samples // c.work.microbatches
        assert rows % (count // c.mesh.tensor) == 0, (name, hardware)
