r"""Questions with gold answers from Parquet files, as verl's preprocessing writes them, or with the columns of jsonl.

    data_source, prompt = [{role, content}], ability, reward_model = {style, ground_truth}, extra_info = {split, index}

verl puts the instruction about the form of the answer into the prompt, so give `form` what it asks for (GSM8K: hash,
MATH: boxed, DAPO-Math-17k: any), or `prompt_column="extra_info.question"` where there is the bare question. Rows that
are scored by a model or by running code are refused. `make` takes the arguments of data/examples.load.

Sources: verl, examples/data_preprocess; DAPO-Math-17k, arXiv:2503.14476. Needs pyarrow: `entropy_rl[parquet]`.
"""

import functools

from entropy_rl.data import examples, records, rows

make = functools.partial(examples.load, "parquet", rows.PARQUET)
verifier = records.verifier  # what checks responses to the problems of make(**args), without their file
