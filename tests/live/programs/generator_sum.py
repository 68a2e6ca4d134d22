"""sum() of a generator: C resumes a Python frame that it did not call first.

stack = root py:work c:builtin_sum* ( c:PyIter_Next )? py:numbers
"""


def numbers():
    for number in range(500):
        value = number
        for bit in range(20):
            value ^= bit
        yield value


def work():
    return sum(numbers())


print("ready", flush=True)
while True:
    work()
