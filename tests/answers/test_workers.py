"""Processes with limits: each way to fail, and nothing left over."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import pytest

from entropy_rl.answers.workers import Failure, Workers
from entropy_rl.errors import InputError

TARGETS = """
import os, signal, sys, time
time.sleep(0.3)  # an import that takes longer than an item may
served = 0

def act(item):
    global served
    served += 1
    kind, x = item
    if kind == "sleep":
        time.sleep(x)
    if kind == "power":
        return 9 ** 9 ** x % 2  # in C: no signal handler is run
    if kind == "memory":
        return len(bytearray(x * 2**20))
    if kind == "exit":
        os._exit(3)
    if kind == "sys.exit":
        sys.exit("bye")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "raise":
        raise KeyError(x)
    if kind == "recurse":
        return act(item)
    if kind == "print":
        print(x); sys.stdout.flush(); os.write(1, b"noise")
    if kind == "set":
        return {1}
    if kind == "pid":
        return os.getpid()
    if kind == "meet":  # returns once a second process is here
        open(os.path.join(x, str(os.getpid())), "w").close()
        while len(os.listdir(x)) < 2:
            time.sleep(0.01)
        return os.getpid()
    if kind == "served":
        return served
    if kind == "late memory":
        return served if served == 1 else len(bytearray(2**40))
    return x

def make(a, b):
    time.sleep(0.3)
    return lambda x: [a, b, x]
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Makes workers on TARGETS, and closes them."""
    (tmp_path / "targets_of_a_test.py").write_text(TARGETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def make(name="act", **kwargs):
        made.append(Workers(f"targets_of_a_test:{name}", **{"seconds": 0.25, **kwargs}))
        return made[-1]

    yield make
    for workers in made:
        workers.close()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_order_and_values(start, tmp_path):
    """Mutation: results in the order in which they come; one worker whatever `count` is."""
    (tmp_path / "met").mkdir()
    workers = start(count=2, seconds=60)
    items = [["sleep", 0.02 * (i % 3)] for i in range(12)]
    assert workers.map(items) == [x for _, x in items]
    assert (
        workers.map([["echo", x] for x in (None, [1, {"a": "\u00e9\ud800\x00"}], 1.5, "x" * 300_000)])[3]
        == "x" * 300_000
    )
    assert len({*workers.map([["meet", str(tmp_path / "met")]] * 2)}) == 2
    assert workers.map([]) == [] and workers.map(iter([["echo", 1]])) == [1]


def test_a_timeout_is_a_failure_and_the_next_item_runs(start):
    """Mutation: no deadline in _read; or the import's time is counted, which is longer than an item's."""
    workers = start()
    begin = time.monotonic()
    slow, ok, power, again = workers.map([["sleep", 30], ["echo", 1], ["power", 9], ["echo", 2]])
    assert time.monotonic() - begin < 20
    assert slow == power == Failure("timeout", "more than 0.25 s") and (ok, again) == (1, 2) and not slow


def test_memory(start):
    """Mutation: no RLIMIT_AS."""
    workers = start(megabytes=400, seconds=5)
    big, ok = workers.map([["memory", 1000], ["memory", 10]])
    assert big.reason == "memory" and "MemoryError" in big.text and ok == 10 * 2**20


def test_an_item_does_not_pay_for_others(start):
    """It fails for want of memory where others ran before it, and not in a fresh process. Mutation: no second try."""
    workers = start(seconds=5)
    assert workers.map([["echo", 0], ["late memory", 0]]) == [0, 1]


@pytest.mark.parametrize("kind", ["exit", "kill"])
def test_a_death(start, kind):
    """Mutation: EOFError is not caught."""
    workers = start(seconds=5)
    assert workers.map([["echo", 1], [kind, 0], ["echo", 2]]) == [1, Failure("died", "the process ended"), 2]


def test_an_exception(start):
    """Mutation: the worker ends with the exception: `served` would begin again."""
    workers = start(seconds=5)
    raised, left, deep, odd, served = workers.map(
        [["raise", "x"], ["sys.exit", 0], ["recurse", 0], ["set", 0], ["served", 0]]
    )
    assert raised == Failure("raised", "KeyError: 'x'") and left == Failure("raised", "SystemExit: bye")
    assert deep.text.startswith("RecursionError") and odd.text.startswith("TypeError") and served > 4


def test_printing_does_no_harm(start):
    """Mutation: the protocol on descriptor 1."""
    assert start(seconds=5).map([["print", "a" * 10_000], ["echo", 1]]) == ["a" * 10_000, 1]


def test_setup(start):
    """Mutation: the factory is called with the first item, whose time it would take."""
    assert start("make", setup={"a": 1, "b": "2"}).map([3]) == [[1, "2", 3]]


def test_they_start_with_the_first_item_and_end_with_close(start):
    """Mutation: `kill` without `wait` leaves a zombie, which `alive` finds."""
    with start(count=2, seconds=5) as workers:
        assert all(worker.process is None for worker in workers._workers)
        pids = set(workers.map([["pid", 0], ["sleep", 0.1]] * 4)[::2])
        assert pids and all(map(alive, pids))
    assert not any(map(alive, pids))
    workers.close()
    with pytest.raises(RuntimeError, match="closed"):
        workers.map([["echo", 1]])


def test_they_end_with_their_object():
    """Mutation: no finalizer; Popen then warns, which is an error here."""
    gc.collect()  # what other tests left behind has warnings of its own
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        workers = Workers("os:getpgid", seconds=5)
        workers.map([0])
        pid = workers._workers[0].process.pid
        assert alive(pid)
        del workers
        gc.collect()
    assert not alive(pid)


SCRIPT = """
    import signal, sys
    # a shell that starts pytest in the background ignores SIGINT, and this process would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from entropy_rl.answers.workers import Workers
    print("main", flush=True)
    workers = Workers("time:sleep", count=2, seconds=30)
    workers.map([0, 0])
    print(*[w.process.pid for w in workers._workers if w.process], flush=True)
    workers.map([float(sys.argv[1])] * 2)
"""


def run_script(tmp_path, seconds, send=None):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    process = subprocess.Popen(
        [sys.executable, str(path), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        start_new_session=True,
    )
    with process:
        assert process.stdout.readline() == "main\n"
        pids = [int(pid) for pid in process.stdout.readline().split()]
        if send:
            time.sleep(0.3)
            os.killpg(process.pid, send)
        out, err = process.communicate(timeout=60)
    return pids, out, err


def gone(pids):
    for _ in range(100):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.05)
    return False


def test_the_program_ends_and_main_is_not_imported_again(tmp_path):
    """Mutation: multiprocessing's spawn, which runs the script once more in each worker."""
    pids, out, err = run_script(tmp_path, 0)
    assert out == err == "" and pids and gone(pids)


def test_ctrl_c_is_the_callers_alone(tmp_path):
    """One traceback, its own. Mutation: workers in the caller's process group."""
    start = time.monotonic()
    pids, _, err = run_script(tmp_path, 25, signal.SIGINT)
    assert time.monotonic() - start < 20
    assert err.count("KeyboardInterrupt") == 1 and pids and gone(pids)


def test_threads_share_them(start):
    """Mutation: two threads use one worker at once."""
    workers = start(count=2, seconds=5)
    found = {}

    def work(i):
        found[i] = workers.map([["echo", 100 * i + j] for j in range(50)])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: [100 * i + j for j in range(50)] for i in range(4)}


def test_what_cannot_start(start):
    """Mutation: the exception of an import is a Failure of each item."""
    for target, why in (("no_such_module:f", "No module named"), ("os:nothing", "no attribute 'nothing'")):
        with Workers(target) as workers, pytest.raises(InputError, match=f"cannot start {target}: .*{why}"):
            workers.map([1])
    with pytest.raises(InputError, match="ended while it started|MemoryError"):
        start(megabytes=5).map([["echo", 1]])
    for bad in (
        {"count": 0},
        {"seconds": 0},
        {"seconds": float("nan")},
        {"megabytes": -1},
        {"count": 1.5},
        {"count": True},
    ):
        with pytest.raises(InputError, match=next(iter(bad))):
            Workers("os:getpid", **bad)
    with pytest.raises(InputError, match="module:function"):
        Workers("os.getpid")


def test_an_item_that_is_no_json(start):
    with pytest.raises(TypeError):
        start().map([{1, 2}])
