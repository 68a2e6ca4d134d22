"""Python recursion deeper than a sample holds: its outer end is cut, and that is shown.

Before 3.11 each call has native frames of its own: so of these the outer end is cut as well, and
where Python frames are not cut, their outer ones are those whose native frames are, or those which
have no marker any more: then a part of the root's native frames may be there.

Debian's 3.14 and 3.15 have no name for most of the evaluator: until a stack that is not cut shows
which function it is, frames that were cut before their marker have no place.

stack = entry mark:truncated ( ( py:<module> )? py:work )? ( py:down )+
      | root py:work ( py:down )+
stack[3.14-] = stack | mark:truncated ( py:down )+ mark:unplaced root
outer[-3.10] = py:<module> py:work ( py:down )* | mark:truncated ( py:work )? ( py:down )+
cut[-3.10] = mark:truncated ( c:__libc_start*,@libc.so* )* ( c:main )?
inner[-3.10] = cut | mark:truncated entry
stack[-3.10] = root py:work ( py:down )+
             | cut py:<module> py:work ( py:down )+
             | py:<module> inner py:work ( py:down )+
             | outer inner ( py:down )+
"""

import sys

sys.setrecursionlimit(10_000)

# Around what a sample holds: 128 markers, 272 native frames (two or three a call), 512 Python ones.
DEPTHS = [*range(84, 140), *range(504, 516), 3000, 3000, 3000, 3000]


def down(depth):
    if depth:
        return down(depth - 1)
    for bit in range(20_000):
        depth ^= bit
    return depth


def work(depth):
    return down(depth)


print("ready", flush=True)
while True:
    for depth in DEPTHS:
        work(depth)
