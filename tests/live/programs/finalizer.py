"""__del__: runs inside the deallocation, also of a frame that has already left its evaluator.

die = ( c:subtype_dealloc,*clear*,*Clear*,slot_tp_finalize,*_dealloc,_Py_Dealloc,*Finalizer* )+
stack = root py:work
        ( ( py:owner )? die py:Finalized.__del__
        | c:builtin_sorted ( c:list_sort* )+ ( py:owner )? die py:Finalized.__del__ )
"""


class Finalized:
    def __del__(self):
        value = 0
        for bit in range(50):
            value ^= bit


def owner(number):
    mine = Finalized()
    return number if mine else None


def work():
    for number in range(20):
        owner(number)
    sorted(range(20), key=owner)


print("ready", flush=True)
while True:
    work()
