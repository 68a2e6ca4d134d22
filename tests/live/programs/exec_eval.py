"""exec, eval and a class body: code that is called by C, not as a function.

eval() jumps into the evaluator where it can, and leaves no frame of its own: so map() calls it.

stack = root py:work
        ( c:builtin_exec* py:<executed>:<module>
        | c:builtin_next c:map_next ( c:builtin_eval* )? py:<evaluated>:<module> py:spend
        | py:define c:builtin___build_class__ py:define.<locals>.Body )
"""

EXECUTED = compile(
    "value = 0\nfor bit in range(100): value ^= bit", filename="<executed>", mode="exec"
)
EVALUATED = compile("spend(100)", filename="<evaluated>", mode="eval")


def spend(times):
    value = 0
    for bit in range(times):
        value ^= bit
    return value


def define():
    class Body:
        value = 0
        for bit in range(100):
            value ^= bit

    return Body


def work():
    exec(EXECUTED, {})
    next(map(eval, [EVALUATED]))
    define()


print("ready", flush=True)
while True:
    work()
