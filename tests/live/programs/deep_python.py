"""Python recursion deeper than a sample holds: its outer end is cut, and that is shown.

Before 3.11 each call has native frames of its own: so of these the outer end is cut as well, and
where Python frames are not cut, their outer ones are those whose native frames are. (3.10 has 128
markers at most: of a few more calls the native frames are whole.)

Debian's 3.14 and 3.15 have no name for most of the evaluator: until a stack that is not cut shows
which function it is, frames that were cut before their marker have no place.

stack = entry mark:truncated ( ( py:<module> )? py:work )? ( py:down )+
      | root py:work ( py:down )+
stack[3.14-] = stack | mark:truncated ( py:down )+ mark:unplaced root
outer[-3.10] = ( py:<module> py:work | mark:truncated ) ( py:down )+
stack[-3.9] = root py:work ( py:down )+
            | outer mark:truncated ( py:down )+
stack[3.10] = root py:work ( py:down )+
            | outer mark:truncated ( entry )? ( py:down )*
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
