"""Python recursion deeper than a sample holds: its outer end is cut, and that is shown.

stack = entry mark:truncated ( ( py:<module> )? py:work )? ( py:down )+
      | mark:truncated,unplaced ( py:down )+
      | root py:work ( py:down )+
"""

import sys

sys.setrecursionlimit(10_000)


def down(depth):
    if depth:
        return down(depth - 1)
    for bit in range(100_000):
        depth ^= bit
    return depth


def work():
    return down(3000)


print("ready", flush=True)
while True:
    work()
