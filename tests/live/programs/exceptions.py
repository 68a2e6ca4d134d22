"""raise, except, finally; a context manager that is a generator, left by an exception (throw()).

enter = py:contextlib.py:contextmanager.<locals>.helper
        ( py:contextlib.py:_GeneratorContextManagerBase.__init__ )?
throw = py:contextlib.py:_GeneratorContextManager.__exit__ ( c:gen_throw,_gen_throw )* py:managed
begin = py:contextlib.py:_GeneratorContextManager.__enter__ c:builtin_next py:managed
stack = root py:work
        ( enter | begin | throw
        | py:guarded py:raising )
"""

import contextlib


def raising(number):
    try:
        for bit in range(30):
            number ^= bit
        raise ValueError(number)
    finally:
        for bit in range(30):
            number ^= bit


def guarded(number):
    try:
        raising(number)
    except ValueError:
        for bit in range(30):
            number ^= bit


@contextlib.contextmanager
def managed(number):
    try:
        yield
    except KeyError:
        for bit in range(100):
            number ^= bit


def work():
    for number in range(10):
        guarded(number)
        with managed(number):
            raise KeyError


print("ready", flush=True)
while True:
    work()
