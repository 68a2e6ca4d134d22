"""What any interpreter runs, however it was started.

stack = root py:work c:builtin_sorted ( c:list_sort* )+ py:key
"""

NUMBERS = [(i * 7919) % 1009 for i in range(200)]


def key(number):
    for bit in range(30):
        number ^= bit
    return number


def work():
    return sorted(NUMBERS, key=key)


print("ready", flush=True)
while True:
    work()
