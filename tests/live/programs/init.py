"""Classes called: __new__, __init__ of a derived class and of its base, a metaclass's __call__.

The functions have names of their own: before 3.11 a frame does not tell its class.

stack = root py:work
        ( py:Base.__new__ | py:Derived.derived ( py:Base.base )?
        | py:Meta.__call__ ( py:Made.made )? )
"""


class Base:
    def __new__(cls, number):
        made = object.__new__(cls)
        for bit in range(20):
            number ^= bit
        return made

    def base(self, number):
        for bit in range(20):
            number ^= bit
        self.number = number

    __init__ = base


class Derived(Base):
    def derived(self, number):
        super().__init__(number)
        for bit in range(20):
            number ^= bit

    __init__ = derived


class Meta(type):
    def __call__(cls, *arguments):
        for _ in range(20):
            pass
        return super().__call__(*arguments)


class Made(metaclass=Meta):
    def made(self, number):
        for bit in range(20):
            number ^= bit

    __init__ = made


def work():
    for number in range(50):
        Derived(number)
        Made(number)


print("ready", flush=True)
while True:
    work()
