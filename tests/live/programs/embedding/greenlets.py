"""Two greenlets that take turns: each has C stack of its own, copied away while the other runs.

A greenlet begins where another first switched to it, so the C of that one may lie above its own,
or what has since been written there. Its Python frames end where it begins. While greenlet copies
stacks, the frames of the one that stops are linked past their markers (3.12 and later).

begin = ( c:*greenlet::UserGreenlet::inner_bootstrap* )+
first = root ( py:nest c:builtin_sorted ( c:list_sort* )+ )* ( py:nest )? py:start
second = begin py:ping
third = begin py:pong c:builtin_sorted ( c:list_sort* )+ py:key
whose = py:ping | py:pong py:key | ( py:<module> )? ( py:nest )+ py:start
moving = mark:chain_cut ( whose )
stack = first ( c:@_greenlet* )*
      | ( mark:cut )? c:* second ( py:spend )? ( c:@_greenlet* )*
      | ( mark:cut )? c:* third ( py:spend )? ( c:@_greenlet* )*
      | ( mark:cut )? c:* moving ( mark:cut )? c:* c:@_greenlet* c:*
"""

import greenlet


def spend():
    value = 0
    for bit in range(2000):
        value ^= bit


def ping():
    while True:
        spend()
        ponger.switch()


def key(number):
    spend()
    pinger.switch()
    return number


def pong():
    while True:
        sorted(range(3), key=key)


def start():
    pinger.switch()


def nest(depth):
    return sorted([depth - 1], key=nest) if depth else start()


pinger = greenlet.greenlet(ping)
ponger = greenlet.greenlet(pong)
print("ready", flush=True)
nest(3)
