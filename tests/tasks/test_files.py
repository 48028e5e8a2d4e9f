"""tasks/jsonl.py, tasks/parquet.py and data/examples.py: rows as MATH, TRL, verl and GSM8K write them."""

import json
import re

import pyarrow
import pyarrow.parquet
import pytest

from entropy_rl.errors import InputError
from entropy_rl.tasks import base

MATH = [
    {"problem": "What is $2+2$?", "level": "Level 1", "type": "Algebra", "solution": "Add: $\\boxed{4}$"},
    {"problem": "Half of 1?", "level": "Level 5", "type": "Number Theory", "solution": "So \\boxed{\\frac{1}{2}}."},
    {"problem": "Count to 3.", "level": "Level ?", "type": "Algebra", "solution": "It is \\boxed{3}"},
]
TRL = [{"prompt": [{"role": "user", "content": f"{i} + 1?"}], "ground_truth": str(i + 1)} for i in range(4)]
VERL = [
    {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "user", "content": f'{i} + 1? Output the final answer after "####".'}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(i + 1)},
        "extra_info": {"split": "train", "index": i, "question": f"{i} + 1?", "answer": f"Add.\n#### {i + 1}"},
    }
    for i in range(4)
]
ALL = {"shares": (1.0, 0.0, 0.0)}


def jsonl(tmp_path, table, **given):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return base.get("jsonl", path=str(path), **(ALL | given))


def parquet(tmp_path, table, **given):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "rows.parquet")
    return base.get("parquet", path=str(tmp_path / "rows.parquet"), **(ALL | given))


def problems(task):
    return [task[i] for i in range(len(task))]


def test_math(tmp_path):
    """The box at the end of the worked answer is the gold one. Mutation: the whole solution as the answer."""
    task = jsonl(tmp_path, MATH)
    assert [(p.prompt, p.answer, p.level, p.demonstration) for p in problems(task)] == [
        ("What is $2+2$?", "4", 1, "Add: $\\boxed{4}$"),
        ("Half of 1?", "\\frac{1}{2}", 5, "So \\boxed{\\frac{1}{2}}."),
        ("Count to 3.", "3", 0, "It is \\boxed{3}"),
    ]
    assert task.levels == (0, 1, 5) and task.verify(task[1], "0.5") == 1.0 and task.verify(task[1], "2") == 0.0
    algebra = jsonl(tmp_path, MATH, subjects=("Algebra",))
    assert [p.prompt for p in problems(algebra)] == ["What is $2+2$?", "Count to 3."]
    assert [p.level for p in problems(jsonl(tmp_path, MATH, levels=(5,)))] == [5]


def test_math_with_an_answer_beside_the_solution(tmp_path):
    rows = [{"problem": "1/2?", "solution": "One half.", "answer": "\\frac{1}{2}", "level": 3}]
    [problem] = problems(jsonl(tmp_path, rows, form="boxed"))
    assert (problem.answer, problem.level) == ("\\boxed{\\frac{1}{2}}", 3)
    assert problem.demonstration == "One half.\n\\boxed{\\frac{1}{2}}"


def test_trl(tmp_path):
    task = jsonl(tmp_path, TRL)
    assert [(p.prompt, p.answer) for p in problems(task)] == [(f"{i} + 1?", str(i + 1)) for i in range(4)]


def test_verl(tmp_path):
    """A prompt of messages, the gold answer in a struct, the bare question and the worked answer beside it."""
    task = parquet(tmp_path, VERL, form="hash")
    assert task[2].prompt == '2 + 1? Output the final answer after "####".'
    assert (task[2].answer, task[2].demonstration) == ("#### 3", "Add.\n#### 3")
    bare = parquet(tmp_path, VERL, prompt_column="extra_info.question")
    assert [p.prompt for p in problems(bare)] == [f"{i} + 1?" for i in range(4)]


def test_gsm8k_rows_in_any_file(tmp_path):
    """One column has the worked and the gold answer; the calculator's annotations go."""
    rows = [{"question": "48 and half as many?", "answer": "48/2 = <<48/2=24>>24, so 72.\n#### 1,072"}]
    [problem] = problems(jsonl(tmp_path, rows))
    assert (problem.answer, problem.demonstration) == ("1072", "48/2 = 24, so 72.\n#### 1,072")


def test_the_splits_of_a_file(tmp_path):
    rows = [{"question": f"{i} + 1?", "answer": str(i + 1)} for i in range(300)]
    parts = [problems(jsonl(tmp_path, rows, split=s, shares=(0.8, 0.1, 0.1))) for s in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 300 == len({p.prompt for part in parts for p in part}) and min(map(len, parts)) > 10


def test_names_of_columns(tmp_path):
    rows = [{"ask": "1 + 1?", "gold": [2], "why": "Add. \\boxed{2}", "hard": "Level 2"}]
    given = {"prompt_column": "ask", "answer_column": "gold", "demonstration_column": "why", "level_column": "hard"}
    [problem] = problems(jsonl(tmp_path, rows, **given))
    assert (problem.prompt, problem.answer, problem.demonstration, problem.level) == (
        *("1 + 1?", "2", "Add. \\boxed{2}"),
        2,
    )


@pytest.mark.parametrize(
    "rows, given, message",
    [
        ([{"q": "1?", "answer": "1"}], {}, "rows.jsonl line 1: no column with the question (looked for problem, "),
        ([{"question": "1?", "gold": "1"}], {}, "line 1: no column with the gold answer (looked for answer, "),
        (TRL, {"prompt_column": "promt"}, "no column 'promt' (did you mean 'prompt'?): it has prompt, "),
        ([TRL[0], {"prompt": "2?"}], {}, "line 2: ground_truth is missing or null: mend it, or set skip=True"),
        ([{"question": "1?", "answer": float("nan")}], {}, "line 1: answer is null: mend it, or set skip=True"),
        ([{"problem": "1?", "solution": "One."}], {}, "line 1: solution ends in no \\boxed{} and no ####, so"),
        (MATH, {"subjects": "Algbra"}, "subjects=['Algbra']: none of the rows has them: it has ['Algebra', "),
        (MATH, {"level_column": "type"}, "level 'Algebra' is no whole number: set level_column to another"),
        ([{**VERL[0], "reward_model": {"style": "model", "ground_truth": "1"}}], {}, "reward_model.style is 'model'"),
        (TRL, {"split": "tets"}, "unknown jsonl split 'tets' (did you mean 'test'?)"),
        (TRL, {"form": "box"}, "unknown answer form 'box'"),
    ],
)  # fmt: skip
def test_bad_rows_are_named(tmp_path, rows, given, message):
    with pytest.raises(InputError, match=re.escape(message)) as e:
        jsonl(tmp_path, rows, **given)
    assert "\n" not in str(e.value)


def test_rows_without_an_answer_are_left_out_and_counted(tmp_path):
    """Mutation: the first row is read for the names of columns and nothing else."""
    rows = [{"problem": "0?", "solution": None}, {"problem": "1?", "solution": "\\boxed 1"}]
    rows += [{"problem": "2?", "solution": "Two."}, {"problem": "3?", "solution": None}]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    task = base.get("jsonl", path=str(path), skip=True, shares=(1, 0, 0))
    assert [p.prompt for p in task.problems] == ["1?"] and task.unchecked == 3
    with pytest.raises(InputError, match="line 1: solution is null: mend it, or set skip=True"):
        base.get("jsonl", path=str(path), shares=(1, 0, 0))


def test_an_argument_that_is_none_gets_a_suggestion(tmp_path):
    with pytest.raises(InputError, match=r"task 'jsonl' .*'prompt_colum' \(did you mean 'prompt_column'\?\)"):
        jsonl(tmp_path, TRL, prompt_colum="prompt")
