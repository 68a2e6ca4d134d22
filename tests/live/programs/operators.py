"""Operators, hashing, iteration and a context manager, all written in Python.

binary = ( c:PyNumber_*,binary_op* )+
compare = ( c:PyObject_RichCompare*,do_richcompare )+
mapping = ( c:dict_subscript*,PyDict_*,_PyDict_*,_Py_dict_*,dict_*,*lookup*,PyObject_GetItem )+
mapping[-3.10] = ( c:PyObject_GetItem )? c:dict_subscript ( c:lookdict )?
iterator = c:PyObject_GetIter
iterator[3.15-] = c:_PyEval_GetIter ( c:PyObject_GetIter )?
stack = root py:work
        ( binary py:Number.__add__
        | compare py:Number.__eq__
        | mapping ( ( c:PyObject_Hash )? py:Number.__hash__ | compare py:Number.__eq__ )
        | ( c:PyObject_GetItem )? py:Number.__getitem__
        | iterator py:Number.__iter__
        | py:Number.__next__,Number.__enter__,Number.__exit__,Number.__call__ )
"""


class Number:
    left = 3

    def __add__(self, other):
        for bit in range(20):
            other ^= bit
        return other

    def __eq__(self, other):
        for _ in range(20):
            pass
        return True

    def __hash__(self):
        for _ in range(20):
            pass
        return 7

    def __getitem__(self, index):
        for bit in range(20):
            index ^= bit
        return index

    def __iter__(self):
        self.left = 3
        for _ in range(20):
            pass
        return self

    def __next__(self):
        for _ in range(20):
            pass
        self.left -= 1
        if not self.left:
            raise StopIteration
        return self.left

    def __enter__(self):
        for _ in range(20):
            pass

    def __exit__(self, *details):
        for _ in range(20):
            pass

    def __call__(self):
        for _ in range(20):
            pass


NUMBER, OTHER = Number(), Number()
MAPPING = {NUMBER: 1}


def work():
    for _ in range(20):
        NUMBER + 1
        assert NUMBER == 1
        MAPPING[OTHER]
        NUMBER[5]
        for _ in NUMBER:
            pass
        with NUMBER:
            pass
        NUMBER()


print("ready", flush=True)
while True:
    work()
