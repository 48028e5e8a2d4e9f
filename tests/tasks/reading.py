"""Countdown's problems and demonstrations as its tests read them."""

import functools
import re

from entropy_rl.tasks import countdown

TASK = countdown.make()
FIRST = 20_000


def read(prompt):
    numbers, target = re.fullmatch(r"((?:\d+ )+)-> (\d+) :", prompt).groups()
    return tuple(sorted(map(int, numbers.split()))), int(target)


@functools.cache
def demonstrations():
    return TASK.demonstrations(0, 0, FIRST)


def texts(task, tokens, mask):
    for row, own in zip(tokens, mask):
        start = own.argmax()
        yield task.tokenizer.decode(row[:start]), task.tokenizer.decode(row[own])
