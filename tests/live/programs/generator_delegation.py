"""yield from, three deep: the bytecode loop resumes the generators itself, no C of anyone between.

stack = root py:work py:outer py:middle py:inner
"""


def inner():
    for number in range(200):
        value = number
        for bit in range(20):
            value ^= bit
        yield value


def middle():
    yield from inner()


def outer():
    yield from middle()


def work():
    for _ in outer():
        pass


print("ready", flush=True)
while True:
    work()
