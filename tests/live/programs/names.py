"""Names and a file beyond ASCII: each width of character that CPython stores.

stack = root py:work py:größe_模块_𠀀.py:größe py:größe_模块_𠀀.py:模块
        py:größe_模块_𠀀.py:Κλάση.𠀀
"""

SOURCE = """
class Κλάση:
    def 𠀀(self):
        value = 0
        for bit in range(1000):
            value ^= bit

def 模块():
    Κλάση().𠀀()

def größe():
    模块()
"""
NAMES = {}
exec(compile(SOURCE, "/nowhere/größe_模块_𠀀.py", "exec"), NAMES)


def work():
    NAMES["größe"]()


print("ready", flush=True)
while True:
    work()
