"""Mutual recursion in one evaluator: strict turns, no C between.

stack = root py:work ( py:even py:odd )* ( py:even )?
"""


def even(number):
    value = 0
    for bit in range(10):
        value ^= bit
    return odd(number - 1) if number else True


def odd(number):
    value = 0
    for bit in range(10):
        value ^= bit
    return even(number - 1) if number else False


def work():
    return even(61)


print("ready", flush=True)
while True:
    work()
