"""Generators that do nothing but call and yield, to C and to each other.

For a few instructions a generator that yields is the newest frame and has no caller; frames of
calls that have returned are still in registers then.

stack = root py:work ( py:to_c c:builtin_sum* ( c:PyIter_Next )? | py:to_a_loop )
        py:delegated py:numbers py:spend
"""


def spend(number):
    return number


def numbers():
    for number in range(1000):
        yield spend(number)


def delegated():
    yield from numbers()


def to_c():
    return sum(delegated())


def to_a_loop():
    for _ in delegated():
        pass


def work():
    to_c()
    to_a_loop()


print("ready", flush=True)
while True:
    work()
