"""Classes called: __new__, __init__ of a derived class and of its base, a metaclass's __call__.

stack = root py:work
        ( py:Base.__new__ | py:Derived.__init__ ( py:Base.__init__ )?
        | py:Meta.__call__ ( py:Made.__init__ )? )
"""


class Base:
    def __new__(cls, number):
        made = object.__new__(cls)
        for bit in range(20):
            number ^= bit
        return made

    def __init__(self, number):
        for bit in range(20):
            number ^= bit
        self.number = number


class Derived(Base):
    def __init__(self, number):
        super().__init__(number)
        for bit in range(20):
            number ^= bit


class Meta(type):
    def __call__(cls, *arguments):
        for _ in range(20):
            pass
        return super().__call__(*arguments)


class Made(metaclass=Meta):
    def __init__(self, number):
        for bit in range(20):
            number ^= bit


def work():
    for number in range(50):
        Derived(number)
        Made(number)


print("ready", flush=True)
while True:
    work()
