"""Ten thousand Python frames in one evaluator (from 3.11 on): more than a sample holds.

The outer end is cut, and what is left is the innermost part.

stack = entry mark:truncated ( ( py:<module> )? py:work )? ( py:down )+
      | mark:truncated,unplaced ( py:down )+
      | mark:truncated ( py:down )+ mark:unplaced c:*
      | root py:work ( py:down )+
"""

import sys

sys.setrecursionlimit(20_000)


def down(depth):
    if depth:
        return down(depth - 1)
    for bit in range(1_000_000):
        depth ^= bit
    return depth


def work():
    return down(10_000)


print("ready", flush=True)
while True:
    work()
