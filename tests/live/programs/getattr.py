"""__getattr__, a property and __setattr__: Python behind what looks like a load or a store.

get = c:PyObject_GetAttr
get[-3.9] = ( )  # it jumps into the slot
get[3.15-] = c:PyObject_GetAttr,_PyObject_GetAttrStackRef
property = ( get c:_PyObject_Gen* ( c:property_descr_get )? )?
property[-3.10] = get c:_PyObject_Gen* c:property_descr_get
stack = root py:work
        ( get py:Proxy.__getattr__ ( property py:Proxy.value )?
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
