"""Chat templates, which are programs of whoever made a folder: rendered in a process of its own, within limits.

A jinja2 sandbox like transformers' keeps a template from python, but not from a loop of 10^9 rounds or a string of ten
gigabytes. So the sandbox runs in a worker (answers/workers.py) that has SECONDS and MEGABYTES for one conversation.
"""

from __future__ import annotations

import datetime
import functools
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from entropy_rl.answers.workers import Failure, Workers
from entropy_rl.errors import InputError

SECONDS, MEGABYTES = 10.0, 1024
MAX_CHARACTERS = 10_000_000  # of a rendered conversation
# What strftime_now is given where a template cannot do without it: with today's date a prompt would change overnight.
# It is the date that the templates of Llama 3 fall back to.
DATE = datetime.datetime(2024, 7, 26)


def render(template: str, messages: Sequence[Mapping[str, str]], variables: Mapping[str, Any], where: str) -> str:
    """The text of a conversation, up to where the assistant's reply begins.

    With `add_generation_prompt` False among the variables, up to its last turn's end.

    Args:
      template: jinja2, with what transformers adds: loop controls, tojson, raise_exception, `{% generation %}`, and
        strftime_now (of DATE) where the template does not say what to do without it.
      messages: of `role` and `content`.
      variables: more that the template reads; JSON values.
      where: the folder, for messages of errors.

    Raises:
      InputError: jinja2 is not installed; the template is broken, refuses the conversation, or exceeds the limits.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise InputError("chat templates need jinja2: pip install 'entropy_rl[hf]'")
    [result] = _workers().map([[template, [dict(m) for m in messages], dict(variables)]])
    if isinstance(result, Failure):
        limits = f"{SECONDS:g} s, {MEGABYTES} MB and {MAX_CHARACTERS} characters are its limits"
        raise InputError(f"chat template of {where} was stopped ({result.reason}): {limits}; give another template")
    text, error = result
    if error:
        raise InputError(f"chat template of {where} refuses the conversation: {error}")
    return text


@functools.cache
def _workers() -> Workers:
    return Workers(f"{__name__}:renderer", seconds=SECONDS, megabytes=MEGABYTES, setup={})


def renderer() -> Callable[[Sequence[Any]], tuple[str, str]]:
    """What the worker runs: (template, messages, variables) -> (text, "") or ("", what is wrong)."""
    import jinja2
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}...{% endgeneration %}` marks what the assistant said; here it is just that text."""

        tags = frozenset({"generation"})

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    def refuse(message):
        raise jinja2.TemplateError(message)

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    compiled = functools.lru_cache(maxsize=16)(environment.from_string)

    def run(item: Sequence[Any]) -> tuple[str, str]:
        template, messages, variables = item
        if "strftime_now" in template and "strftime_now is" not in template:
            variables = {"strftime_now": DATE.strftime, **variables}
        try:
            text, size = [], 0
            for piece in compiled(template).generate(messages=messages, **{"add_generation_prompt": True, **variables}):
                text.append(piece)
                size += len(piece)
                if size > MAX_CHARACTERS:
                    return "", f"it writes more than {MAX_CHARACTERS} characters"
            return "".join(text), ""
        except MemoryError:
            raise
        except Exception as e:  # a template can raise whatever python does: OverflowError, TypeError, ...
            said = str(e) if isinstance(e, jinja2.TemplateError) else f"{type(e).__name__}: {e}"
            return "", " ".join(said.split())

    return run
