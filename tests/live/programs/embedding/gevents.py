"""gevent: jobs and an event loop, all of them greenlets; some jobs wait below C of their own.

begin = ( mark:cut )? c:* c:*greenlet::UserGreenlet::inner_bootstrap* c:*
gevent = ( py:gevent/*.py:* c:* )+
job = py:job ( c:builtin_sorted ( c:list_sort* )+ py:key )? ( py:spend | gevent )?
whose = ( py:<module> py:work )? ( py:job ( py:key )? )? ( py:gevent/*.py:* )*
moving = mark:chain_cut whose
stack = root py:work c:* ( gevent )?
      | begin ( job | gevent )?
      | ( mark:cut )? c:* moving ( mark:cut )? c:* c:@_greenlet* c:*
"""

import gevent


def spend():
    value = 0
    for bit in range(5000):
        value ^= bit


def key(number):
    spend()
    gevent.sleep(0)
    return number


def job(number):
    while True:
        spend()
        if number % 2:
            sorted([number], key=key)
        else:
            gevent.sleep(0)


def work():
    gevent.joinall([gevent.spawn(job, number) for number in range(4)])


print("ready", flush=True)
work()
