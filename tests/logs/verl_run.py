"""What a run of verl logs, through verl's own Tracking with the law in it: `python verl_run.py FOLDER`, in .venv-verl.

FOLDER has on_import.py, which asks for the law when verl imports it; no call is made here.
"""

import math
import os
import sys

os.environ["VERL_USE_EXTERNAL_MODULES"] = "on_import"
folder = sys.argv[1]
sys.path.insert(0, folder)
os.chdir(folder)

from verl.utils.tracking import Tracking

tracking = Tracking("project", "run", ["console", "file"], {"trainer": {}})
for step in range(40):
    H = 0.9 * math.exp(-step / 12) + 0.02
    row = {"actor/entropy": H, "critic/score/mean": 0.5, "training/global_step": step, "actor/pg_clipfrac": 0.5}
    if step % 2 == 0:
        row["val-core/math/acc/mean@8"] = 0.9 - 0.3 * math.exp(H) + 0.003 * math.sin(7.0 * step)
    tracking.log(data=row, step=step)
tracking.finish()
