"""A coroutine driven by hand: send() from Python, await chains, a __await__ of our own.

stack = root py:work ( c:gen_send,coro_send )? py:outer py:inner
        ( ( c:slot_am_await )? py:Ready.__await__ )?
"""


class Ready:
    def __await__(self):
        value = 0
        for bit in range(50):
            value ^= bit
        yield value
        for bit in range(50):
            value ^= bit
        return value


async def inner():
    total = 0
    for _ in range(20):
        total += await Ready()
    return total


async def outer():
    return await inner()


def work():
    coroutine = outer()
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        pass


print("ready", flush=True)
while True:
    work()
