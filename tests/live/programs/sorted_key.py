"""sorted(key=...): a callback from C, once per element.

stack = root py:work c:builtin_sorted ( c:list_sort* )+ py:key
"""

NUMBERS = [(i * 7919) % 1009 for i in range(200)]


def key(number):
    value = number
    for bit in range(30):
        value ^= bit
    return value


def work():
    return sorted(NUMBERS, key=key)


print("ready", flush=True)
while True:
    work()
