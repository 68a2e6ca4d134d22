"""re.sub with a function: a callback from the C engine of regular expressions.

stack = root py:work ( c:*_sre*,pattern_subx* )+ py:replace
"""

import re

PATTERN = re.compile(r"[0-9]+")
TEXT = " ".join(map(str, range(200)))


def replace(match):
    value = 0
    for bit in range(30):
        value ^= bit
    return str(value)


def work():
    return PATTERN.sub(replace, TEXT)


print("ready", flush=True)
while True:
    work()
