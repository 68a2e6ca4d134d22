"""Code objects that die, and others that take their memory: names must not be mixed up.

Both functions of a pair, and their file, carry one number; a test checks that they agree.
A pair spends its time in the inner function, so that the outer's name comes from the caller's slot.

stack = root py:work ( py:<made*>:outer* py:<made*>:inner* | c:builtin_exec* py:<made*>:<module> )
"""

SOURCE = """
def inner{n}(value):
    for bit in range(2000):
        value ^= bit
    return value

def outer{n}():
    return inner{n}({n})
"""
NUMBERS = iter(range(10**9))


def work():
    number = next(NUMBERS)
    names = {}
    exec(compile(SOURCE.format(n=number), f"<made{number}>", "exec"), names)
    for _ in range(3):
        names[f"outer{number}"]()


print("ready", flush=True)
while True:
    work()
