"""The law in the metrics of verl: whatever its Tracking logs goes to all of its backends with the law's numbers.

    from entropy_rl.logs import verl_hook

    verl_hook.watch(horizon=400)

must run in the process that trains, which is a worker of ray: in a module of your own that the environment variable
VERL_USE_EXTERNAL_MODULES names, as verl imports what stands there. verl is imported when `watch` is called.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from entropy_rl.logs.live import Live

NAME = "_entropy_rl_live"  # of the attribute in which a Tracking has its Live


def watch(tracking: Any = None, **options: Any) -> None:
    """Has a Tracking, or every one that is made (None), log `Live`'s numbers, with Live's options; once."""
    if tracking is None:
        tracking = importlib.import_module("verl.utils.tracking").Tracking
    inner = tracking.log
    if hasattr(inner, "options"):
        inner.options.clear()
        inner.options.update(options)
        return

    @functools.wraps(inner)
    def log(*args: Any, **kwargs: Any) -> Any:
        owner, args = (args[0], args[1:]) if isinstance(tracking, type) else (tracking, args)
        given = dict(zip(("data", "step", "backend"), args)) | kwargs
        if not hasattr(owner, NAME):
            setattr(owner, NAME, Live(**{"form": "verl"} | options))
        given["data"] = {**given["data"], **getattr(owner, NAME).add(given["step"], given["data"])}
        return inner(owner, **given) if isinstance(tracking, type) else inner(**given)

    log.options = options
    tracking.log = log
