r"""Questions with gold answers from files of JSON lines or JSON lists, also .gz: MATH's, TRL's, or your own.

    {"problem": "What is $2+2$?", "solution": "... $\\boxed{4}$", "level": "Level 1", "type": "Algebra"}
    {"prompt": [{"role": "user", "content": "What is 2+2?"}], "ground_truth": "4"}

`make` takes the arguments of data/examples.load, where it is said which columns are known; what a list of messages
becomes is in data/rows.py, and what the splits of one file are in data/records.py.
"""

import functools

from entropy_rl.data import examples, records, rows

make = functools.partial(examples.load, "jsonl", rows.JSON)
verifier = records.verifier  # what checks responses to the problems of make(**args), without their file
