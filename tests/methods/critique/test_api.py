"""A critic behind a server: what is stored, asked again, given up, paid for, and never told."""

import json
import threading

import pytest

from entropy_rl.errors import InputError
from entropy_rl.methods.critique import api
from tests.critic_server import completion, criticises, serve

KEY = "sk-secret-1234"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("CRITIC_KEY", KEY)


def endpoint(folder, url, **changes):
    how = {"model": "m", "key_from": "CRITIC_KEY", "timeout": 5.0, "retries": 2, "backoff": 0.001} | changes
    return api.Endpoint(folder, url=url, **how)


def about(*texts):
    return [[{"role": "user", "content": text}] for text in texts]


def stored(folder):
    return [json.loads(line) for line in (folder / api.FILE).read_text().splitlines()]


def test_nothing_is_asked_twice(tmp_path):
    """In a batch, between batches, between processes, and after a line that a kill tore. Mutation: no store."""
    with serve() as (url, seen):
        first = endpoint(tmp_path, url).ask(about("a", "b", "a"))
        assert len(seen) == 2 and first[0] == first[2] != first[1] and "Wrong" in first[0]["text"]
        with open(tmp_path / api.FILE, "a") as f:
            f.write('{"hash": "to')
        again = endpoint(tmp_path, url)
        assert again.ask(about("b", "a")) == [first[1], first[0]] and len(seen) == 2
        again.ask(about("c"))
        assert len(seen) == 3 and len(stored(tmp_path)) == 3
        endpoint(tmp_path, url, model="other").ask(about("a"))
        endpoint(tmp_path, url, reply_tokens=9).ask(about("a"))
        assert len(seen) == 5 and seen[4]["max_tokens"] == 9 and seen[0]["temperature"] == 0


def test_the_key_is_told_to_the_server_alone(tmp_path, capsys):
    with serve() as (url, seen):
        endpoint(tmp_path, url).ask(about("a"))
        endpoint(tmp_path, url, key_from="").ask(about("b"))
    assert seen[0]["authorization"] == f"Bearer {KEY}" and KEY not in seen[1]["authorization"]
    with serve(lambda number, asked: (401, json.dumps({"error": {"message": f"bad key {KEY}"}}))) as (url, seen):
        with pytest.raises(InputError, match=r"refuses the model 'm' \(status 401\): correct the key") as e:
            endpoint(tmp_path, url, on_failure="verdict").ask(about("c"))
    assert (
        KEY not in str(e.value) and KEY not in (tmp_path / api.FILE).read_text() and KEY not in capsys.readouterr().out
    )


FAILURES = {
    "500": (500, "{}"),
    "429": (429, "{}"),
    "garbage": (200, "<html>502</html>"),
    "another object": (200, '{"choices": []}'),
    "null": (200, "null"),
    "a number": (200, completion("x").replace('"content": "x"', '"content": 5')),
    "nested": (200, "[" * 100_000),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_what_is_no_reply_is_asked_again(tmp_path, kind):
    """Twice in vain, then well. Mutations: no retries; garbage taken for a reply."""
    with serve(lambda number, asked: FAILURES[kind] if number < 2 else criticises(number, asked)) as (url, seen):
        (row,) = endpoint(tmp_path, url).ask(about("a"))
    assert not row["failed"] and row["tokens"] == 7 and len(seen) == 3


def test_a_server_that_stays_down(tmp_path):
    """Stop: one line, and what did come is stored. Verdict: counted, stored, and not waited for again and again."""

    def behave(number, asked):
        return criticises(number, asked) if asked["messages"][0]["content"] == "good" else (503, "")

    with serve(behave) as (url, seen):
        one = {"concurrency": 1}
        with pytest.raises(InputError, match=r"gives no reply \(status 503\): see to the server") as e:
            endpoint(tmp_path, url, **one).ask(about("good", "bad", "worse"))
        assert "\n" not in str(e.value) and len(seen) == 1 + 3 and [r["failed"] for r in stored(tmp_path)] == [False]
        rows = endpoint(tmp_path, url, on_failure="verdict", **one).ask(about("good", "bad", "worse"))
        assert [r["failed"] for r in rows] == [False, True, True] and len(seen) == 4 + 3
        again = endpoint(tmp_path, url, on_failure="verdict", **one).ask(about("worse", "good"))
        assert again == [rows[2], rows[0]] and len(seen) == 7
    gone = endpoint(tmp_path, url, retries=0)
    with pytest.raises(InputError, match="no connection"):
        gone.ask(about("more"))


def test_a_slow_server_is_not_waited_for(tmp_path):
    release = threading.Event()

    def behave(number, asked):
        release.wait(20)
        return criticises(number, asked)

    with serve(behave) as (url, seen):
        with pytest.raises(InputError, match="timed out"):
            endpoint(tmp_path, url, timeout=0.05, retries=1).ask(about("a"))
        release.set()
    assert len(seen) == 2


def test_blanks_do_not_keep_a_try_alive(tmp_path):
    """As busy servers send while they think. Mutation: a time for each piece alone."""
    release = threading.Event()

    def pieces():
        for _ in range(100):
            if release.wait(0.02):
                break
            yield " "
        yield completion("late")

    with serve(lambda number, asked: (200, pieces())) as (url, _):
        with pytest.raises(InputError, match="timed out"):
            endpoint(tmp_path, url, timeout=0.5, retries=0).ask(about("a"))
        release.set()
        (row,) = endpoint(tmp_path, url, retries=0).ask(about("b"))
    assert row["text"] == "late" and row["tokens"] == 7


def test_an_interrupted_question_is_no_failure(tmp_path, monkeypatch):
    """What waits for its next try when the run is ended is asked again. Mutation: stored as failed."""
    with serve(lambda number, asked: (503, "")) as (url, seen):
        ends = endpoint(tmp_path, url, on_failure="verdict", backoff=30.0)
        wait = ends._ended.wait

        def interrupted(seconds):
            ends._ended.set()  # as the end of `ask` does, by Ctrl-C
            return wait(seconds)

        monkeypatch.setattr(ends._ended, "wait", interrupted)
        ends.ask(about("a"))
    assert len(seen) == 1 and not (tmp_path / api.FILE).exists()


def test_a_question_that_is_refused_does_not_end_the_others(tmp_path):
    behave = lambda number, asked: (400, "{}") if "long" in str(asked) else criticises(number, asked)  # noqa: E731
    with serve(behave) as (url, seen):
        rows = endpoint(tmp_path, url, on_failure="verdict", concurrency=1).ask(about("long", "a", "b"))
    assert [r["failed"] for r in rows] == [True, False, False] and len(seen) == 3


def test_no_more_than_so_many_at_once(tmp_path):
    """Mutation: all at once."""
    lock, now, most = threading.Lock(), [0], [0]
    three = threading.Barrier(3)

    def behave(number, asked):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        three.wait(20)
        with lock:
            now[0] -= 1
        return criticises(number, asked)

    with serve(behave) as (url, _):
        endpoint(tmp_path, url, concurrency=3, timeout=30.0).ask(about(*"abcdef"))
    assert most == [3]


def test_budgets(tmp_path):
    """The first in order are asked, whatever was done before a kill. Mutation: counted anew after a restart."""
    with serve() as (url, seen):
        calls = {"max_calls": 3, "on_failure": "verdict"}
        (tmp_path / "a").mkdir()
        rows = endpoint(tmp_path / "a", url, **calls).ask(about("a"))
        rows += endpoint(tmp_path / "a", url, **calls).ask(about("b", "c", "d"))
        assert [r["failed"] for r in rows] == [False, False, False, True] and len(seen) == 3
        lines = (tmp_path / "a" / api.FILE).read_text().splitlines(keepends=True)
        (tmp_path / "a" / api.FILE).write_text(lines[0] + lines[2])  # killed before "b" or "c" was stored
        again = endpoint(tmp_path / "a", url, **calls).ask(about("b", "c", "d"))
        assert again == rows[1:] and len(seen) == 4
        with pytest.raises(InputError, match=r"max_calls=3 is spent \(3 calls, 51 tokens\): raise it"):
            endpoint(tmp_path / "a", url, max_calls=3).ask(about("e"))
        (tmp_path / "b").mkdir()
        paid = endpoint(tmp_path / "b", url, max_tokens=20)
        assert not any(r["failed"] for r in paid.ask(about("a", "b")))  # 34 tokens
        with pytest.raises(InputError, match="max_tokens=20 is spent"):
            paid.ask(about("c"))
        assert not paid.ask(about("a"))[0]["failed"], "what is there costs nothing"


def test_what_a_reply_can_be(tmp_path):
    bodies = [completion("cut", reason="length"), completion(None), completion("x").replace('"usage"', '"none"')]
    bodies += [completion("\ud83d half"), completion("a\u2028b")]
    with serve(lambda number, asked: (200, bodies[number])) as (url, _):
        rows = endpoint(tmp_path, url, concurrency=1).ask(about(*"abcde"))
        assert endpoint(tmp_path, url).ask(about(*"abcde")) == rows
    assert [r["truncated"] for r in rows] == [True] + [False] * 4
    assert rows[1]["text"] == "" and rows[3]["text"] == "? half"
    assert rows[2]["tokens"] == 1 and not any(r["failed"] for r in rows)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"url": ""}, "critique.api.url='' is no URL"),
        ({"url": "localhost:80"}, "is no URL"),
        ({"url": "http://[::1"}, "is no URL"),
        ({"url": "http://h:x/v1"}, "is no URL"),
        ({"url": "ftp://host/v1"}, "is no URL"),
        ({"url": "http://me:sk-1@host/v1"}, "holds a name or password"),
        ({"model": ""}, "critique.api.model is missing"),
        ({"key_from": "NO_SUCH_KEY"}, "the environment has no NO_SUCH_KEY"),
        ({"key_from": "sk-1234"}, "critique.api.key_from is no name of an environment variable"),
        ({"on_failure": "verdcit"}, "did you mean 'verdict'"),
        ({"concurrency": 0}, "critique.api.concurrency=0"),
        ({"timeout": 0}, "critique.api.timeout=0"),
        ({"max_calls": -1}, "critique.api.max_calls=-1"),
    ],
)
def test_bad_values_are_named(tmp_path, changes, message):
    with pytest.raises(InputError) as e:
        endpoint(tmp_path, **({"url": "http://localhost:1/v1"} | changes))
    assert message in str(e.value) and "\n" not in str(e.value) and "sk-1" not in str(e.value)
