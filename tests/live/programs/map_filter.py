"""map over filter: one iterator of C drives the other, each calls back.

iterate = ( c:*list_extend*,list___init__*,list_vectorcall*,PySequence_List )+
stack = root py:work iterate c:map_next ( c:filter_next py:wanted | py:change )
"""


def wanted(number):
    for _ in range(20):
        number ^= 3
    return number & 1


def change(number):
    for _ in range(20):
        number ^= 5
    return number


def work():
    return list(map(change, filter(wanted, range(200))))


print("ready", flush=True)
while True:
    work()
