"""__getattr__, a property and __setattr__: Python behind what looks like a load or a store.

property = ( c:PyObject_GetAttr c:_PyObject_Gen* ( c:property_descr_get )? )? py:Proxy.value
stack = root py:work
        ( c:PyObject_GetAttr py:Proxy.__getattr__ ( property )?
        | c:PyObject_SetAttr py:Proxy.__setattr__ )
"""


class Proxy:
    def __getattr__(self, name):
        number = self.value
        for bit in range(20):
            number ^= bit
        return number

    def __setattr__(self, name, number):
        for bit in range(20):
            number ^= bit

    @property
    def value(self):
        number = 0
        for bit in range(20):
            number ^= bit
        return number


def work():
    proxy = Proxy()
    for _ in range(50):
        proxy.written = proxy.missing


print("ready", flush=True)
while True:
    work()
