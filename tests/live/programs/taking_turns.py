"""Three functions that call each other in turn.

In 3.8 and 3.9 each function's frame object is used again: so an evaluator that is only being
entered finds on its stack what the last one there left, the address of a frame that runs again by
now, one or two evaluators further out. That is no marker.

stack = root py:work ( py:left ( py:middle ( py:right )? )?
                     | py:right ( py:middle ( py:left )? )?
                     | py:middle ( py:left ( py:right )? )? )?
"""


def left(first, second):
    if first:
        first(second, None)


def middle(first, second):
    if first:
        first(second, None)


def right(first, second):
    if first:
        first(second, None)


def work():
    for _ in range(1000):
        left(middle, right)
        right(middle, left)
        middle(left, right)


print("ready", flush=True)
while True:
    work()
