"""An OpenAI-compatible server on this machine that behaves as a test wants: a critic, a broken one, or none."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WRONG = "Step sentence: 1\nCorrectness of the step: Wrong\nExplanation: no {}.\nCorrectness of the final answer: Wrong"
Behave = Callable[[int, dict[str, Any]], tuple[int, str | Iterable[str]]]


def completion(text: str | None, *, reason: str = "stop") -> str:
    """The body of a reply."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    usage = {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}
    about = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
    return json.dumps(about | {"choices": [choice], "usage": usage})


def criticises(number: int, asked: dict[str, Any]) -> tuple[int, str]:
    """A critique that depends on what was asked."""
    return 200, completion(WRONG.format(hashlib.sha256(json.dumps(asked["messages"]).encode()).hexdigest()[:4]))


@contextlib.contextmanager
def serve(behave: Behave = criticises) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(URL, the questions so far, each with the `authorization` that came with it); `behave`: number from 0, question
    -> status, body, or pieces of it that are sent one by one."""
    seen: list[dict[str, Any]] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                number = len(seen)
                seen.append(asked | {"authorization": self.headers.get("authorization")})
            status, body = behave(number, asked)
            with contextlib.suppress(OSError):  # whoever asked has gone
                self.send_response(status)
                self.send_header("content-type", "application/json")
                if isinstance(body, str):
                    self.send_header("content-length", str(len(body.encode())))
                self.end_headers()
                for piece in [body] if isinstance(body, str) else body:
                    self.wfile.write(piece.encode())
                    self.wfile.flush()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def llama(python: Path, gguf: Path) -> Iterator[str]:
    """URL of llama.cpp's own server of a GGUF file, which runs in an environment of its own and ends with this."""
    command = [str(python), str(Path(__file__).with_name("llama_server.py")), str(gguf), "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = child.stdout.readline().strip()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            with contextlib.suppress(OSError):  # 503 until the model is loaded
                opener.open(f"{url}/models").read()
                break
            assert url and child.poll() is None, "the server has ended"
            time.sleep(0.2)
        yield url
    finally:
        child.kill()
        child.communicate()
