"""Prints the path of the newest Python, 3.11 or later, of another minor version than this one; nothing where none is.

Looks for python3.x on PATH and in ~/.pyenv/versions. One counts if it starts and can make an environment with pip in
it: pyenv's shims stand on PATH for versions that are not selected, and some distributions leave ensurepip out.
"""

import os
import pathlib
import re
import subprocess
import sys

folders = [pathlib.Path(part) for part in os.environ.get("PATH", "").split(os.pathsep) if part]
folders += (pathlib.Path.home() / ".pyenv" / "versions").glob("3.*/bin")
minors = {}
for folder in folders:
    for path in folder.glob("python3.*"):
        if match := re.fullmatch(r"python3\.(\d+)", path.name):
            minors.setdefault(int(match[1]), []).append(path)
for minor in sorted(minors, reverse=True):
    if minor < 11 or minor == sys.version_info.minor:
        continue
    for path in minors[minor]:
        if subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
            print(path)
            sys.exit()
