"""A critic behind an OpenAI-compatible server: bounded in time, calls and tokens, and asked nothing twice.

Every reply is appended to a JSON-lines file by the hash of what was asked (model, messages, longest reply) before it is
used, so a run that was killed goes on with the same replies. Failures that the run goes on after (`on_failure`) are
stored too, and for the same reason. The budgets are counted from that file at the beginning of each batch of questions.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from entropy_rl import files
from entropy_rl.errors import InputError, lookup

FILE = "critiques.jsonl"
ON_FAILURE = ("stop", "verdict")
LONGEST_PAUSE = 60.0  # seconds between two tries
LONGEST_REPLY = 1 << 24  # bytes of an answer; a longer one is no chat completion
Messages = Sequence[Mapping[str, str]]


class Endpoint:
    """A server that completes chats.

    Args:
      folder: where the replies are stored, in `FILE`; read and made when it is first asked.
      url: of the API, such as http://localhost:8000/v1.
      model: its name there.
      key_from: environment variable that holds the key; "": the server wants none. The key itself is kept in memory
        only, and no message of the server is passed on, as some repeat it.
      concurrency: questions that are under way at once.
      timeout: seconds that a try may take in all, however often a piece of the answer comes.
      retries: further tries of a question after a time-out, a refused connection, status 408, 409, 429 or 5xx, or a
        reply that is no chat completion.
      backoff: seconds before the first of them, twice as many before each further one.
      max_calls: questions in all, 0: any number; those that failed count, tries do not.
      max_tokens: of questions and replies in all, 0: any number. Looked at between batches.
      reply_tokens: of the longest reply.
      on_failure: stop: InputError where no reply comes or a budget is spent; verdict: such replies have `failed` set.

    Raises:
      InputError: a bad value, no `openai`, or a key that is missing.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        url: str,
        model: str,
        key_from: str = "OPENAI_API_KEY",
        concurrency: int = 8,
        timeout: float = 60.0,
        retries: int = 3,
        backoff: float = 1.0,
        max_calls: int = 0,
        max_tokens: int = 0,
        reply_tokens: int = 256,
        on_failure: str = "stop",
    ):
        self._path, self._url, self._model = Path(folder) / FILE, url, model
        try:
            parts = urllib.parse.urlsplit(url)
            host, _ = parts.hostname, parts.port  # which says that a port is none
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise InputError(f"critique.api.url={url!r} is no URL: give one such as http://localhost:8000/v1")
        if parts.username or parts.password:
            raise InputError("critique.api.url holds a name or password, which a workdir would keep: give it without")
        if not model:
            raise InputError("critique.api.model is missing: give the name that the server knows the critic by")
        lookup(dict.fromkeys(ON_FAILURE), on_failure, "critique.api.on_failure")
        for name, value, least in (("concurrency", concurrency, 1), ("retries", retries, 0), ("backoff", backoff, 0)):
            if value < least:
                raise InputError(f"critique.api.{name}={value}: must be {least} or more")
        for name, value in (("max_calls", max_calls), ("max_tokens", max_tokens)):
            if value < 0:
                raise InputError(f"critique.api.{name}={value}: must be 0, any number, or more")
        if timeout <= 0:
            raise InputError(f"critique.api.timeout={timeout}: must be above 0 seconds")
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*|", key_from):  # a key itself may have been given: not repeated
            raise InputError(
                "critique.api.key_from is no name of an environment variable: give one, such as OPENAI_API_KEY, and "
                "set it to the key"
            )
        key = os.environ.get(key_from, "") if key_from else "none"
        if not key:
            raise InputError(
                f"the environment has no {key_from}, the key of {url}: set it, or give critique.api.key_from= with the "
                'name of another variable, or with "" where the server wants none'
            )
        try:
            import httpx
            import openai
        except ImportError:
            raise InputError("critique.source=api needs openai: pip install 'entropy_rl[api]'") from None
        self._openai, self._httpx, self._timeout = openai, httpx, timeout
        self._client = openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=0)
        self._concurrency, self._retries, self._backoff = concurrency, retries, backoff
        self._max_calls, self._max_tokens, self._reply_tokens = max_calls, max_tokens, reply_tokens
        self._goes_on = on_failure == "verdict"
        self._stored: dict[str, dict[str, Any]] | None = None
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._down = ""

    def ask(self, conversations: Sequence[Messages]) -> list[dict[str, Any]]:
        """What the server replies to each: `text`, `tokens`, `truncated`, `failed`.

        Raises:
          InputError: with on_failure "stop", no reply came, or a budget is spent; with any, the server refuses the key
            or does not know the model, or a reply cannot be stored.
        """
        stored = self._read()
        hashes = [self._hash(c) for c in conversations]
        questions = {h: c for h, c in zip(hashes, conversations) if h not in stored}
        if questions:
            self._ask(questions, hashlib.sha256("".join(hashes).encode()).hexdigest())
        nothing = {"text": "", "tokens": 0, "truncated": False, "failed": True}
        found = (stored.get(h, nothing) for h in hashes)
        return [{name: row[name] for name in nothing} for row in found]

    def _ask(self, questions: dict[str, Messages], batch: str) -> None:
        """Asks what is not stored, as far as the budgets go."""
        rows = self._stored.values()
        ours = [row for row in rows if row["batch"] == batch]  # of this batch, before the run was killed
        calls, spent = len(self._stored), sum(row["spent"] for row in rows)
        if ours:
            calls, spent = ours[0]["calls_before"], ours[0]["spent_before"]
        left = len(questions)
        if self._max_calls:
            left = min(left, max(self._max_calls - calls - len(ours), 0))
        no_tokens = self._max_tokens and spent >= self._max_tokens
        if no_tokens:
            left = 0
        if left < len(questions) and not self._goes_on:
            what = f"max_tokens={self._max_tokens}" if no_tokens else f"max_calls={self._max_calls}"
            raise InputError(
                f"critique.api.{what} is spent ({calls + len(ours)} calls, {spent} tokens): raise it, or give "
                "critique.api.on_failure=verdict"
            )
        about = {"batch": batch, "calls_before": calls, "spent_before": spent}
        self._down = ""
        self._ended.clear()
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            asked = [pool.submit(self._one, h, c, about) for h, c in list(questions.items())[:left]]
            for future in asked:
                future.result()
        finally:
            self._ended.set()  # of those under way none begins another try
            pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, name: str, messages: Messages, about: Mapping[str, Any]) -> None:
        """Asks one question and stores what comes."""
        made, why = self._tries(messages)
        if made is None:
            if self._ended.is_set():  # given up, as another question failed or the run was ended: no failure of its own
                return
            if not self._goes_on:
                self._ended.set()
                raise InputError(
                    f"{self._url} gives no reply ({why}): see to the server and give the same command again, or give "
                    "critique.api.on_failure=verdict"
                )
            made = {"text": "", "tokens": 0, "spent": 0, "truncated": False, "failed": True}
        row = {"hash": name, **about, **made}
        with self._lock:
            try:
                with open(self._path, "ab", buffering=0) as f:
                    f.write(files.line(row).encode())
            except OSError as e:
                raise InputError(f"cannot write {self._path}: {e.strerror}; repair that and start again") from e
            self._stored[name] = row

    def _tries(self, messages: Messages) -> tuple[dict[str, Any] | None, str]:
        """(a reply, or None; why there is none)."""
        why = self._down
        for number in range(self._retries + 1):
            if number:
                self._ended.wait(min(self._backoff * 2 ** (number - 1), LONGEST_PAUSE))
            if self._down or self._ended.is_set():  # it was down for another question: not to be waited for again
                break
            try:
                return self._complete(messages), ""
            except (self._openai.APITimeoutError, self._httpx.TimeoutException, TimeoutError):
                why = "timed out"
            except (self._openai.APIConnectionError, self._httpx.HTTPError):
                why = "no connection"
            except self._openai.APIStatusError as e:
                why = f"status {e.status_code}"
                if e.status_code in (401, 403, 404):
                    remedy = "correct critique.api.url or model" if e.status_code == 404 else "correct the key"
                    raise InputError(f"{self._url} refuses the model {self._model!r} ({why}): {remedy}") from None
                if e.status_code not in (408, 409, 429) and e.status_code < 500:
                    return None, why  # it refuses this question
            except (self._openai.APIError, ValueError, AttributeError, IndexError, TypeError, KeyError, RecursionError):
                why = "no chat completion"
        self._down = self._down or why
        return None, why

    def _complete(self, messages: Messages) -> dict[str, Any]:
        end, body = time.monotonic() + self._timeout, bytearray()
        how = {"model": self._model, "max_tokens": self._reply_tokens, "temperature": 0.0}
        create = self._client.chat.completions.with_streaming_response.create
        # read in pieces, as `timeout` of the client is for each of them: servers that are busy send blanks meanwhile
        with create(messages=[dict(m) for m in messages], **how) as response:
            for piece in response.iter_bytes():
                body += piece
                if time.monotonic() > end:
                    raise TimeoutError
                if len(body) > LONGEST_REPLY:
                    raise ValueError
        made = json.loads(body)
        choice, usage = made["choices"][0], made.get("usage") or {}
        text = choice["message"].get("content")
        if text is not None and not isinstance(text, str):
            raise ValueError
        text = (text or "").encode("utf-8", "replace").decode()  # halves of a pair, which no file holds
        tokens, spent = usage.get("completion_tokens"), usage.get("total_tokens")
        tokens = tokens if isinstance(tokens, int) else len(text) // 4 + 1  # a server that does not count
        spent = spent if isinstance(spent, int) else tokens + sum(len(m["content"]) for m in messages) // 4
        truncated = choice.get("finish_reason") == "length"
        return {"text": text, "tokens": tokens, "spent": spent, "truncated": truncated, "failed": False}

    def _hash(self, messages: Messages) -> str:
        asked = {"model": self._model, "max_tokens": self._reply_tokens, "messages": [dict(m) for m in messages]}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def _read(self) -> dict[str, dict[str, Any]]:
        if self._stored is None:
            rows: list[dict[str, Any]] = []
            if self._path.exists():
                rows, broken = files.read(self._path)
                if broken:  # what a kill left of a line
                    files.rewrite(self._path, rows)
            self._stored = {row["hash"]: row for row in rows}
        return self._stored
