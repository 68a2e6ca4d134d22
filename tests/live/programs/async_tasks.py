"""asyncio: two tasks that take turns; the loop is Python, the step of a task is C.

run = py:asyncio/runners.py:run py:asyncio/runners.py:Runner.run
run[-3.10] = py:asyncio/runners.py:run
loop = run py:asyncio/base_events.py:BaseEventLoop.run_until_complete
       py:asyncio/base_events.py:BaseEventLoop.run_forever
       py:asyncio/base_events.py:BaseEventLoop._run_once
nap = py:asyncio/tasks.py:sleep ( py:asyncio/tasks.py:__sleep0 )?
handle = py:asyncio/base_events.py:BaseEventLoop._call_soon
         ( py:asyncio/events.py:Handle.__init__ ( py:asyncio/base_events.py:*.get_debug )? )?
again = py:asyncio/base_events.py:BaseEventLoop.call_soon
        ( py:asyncio/base_events.py:*._check_closed,*.get_debug | handle )?
coroutine = py:turn ( py:busy | nap )
task = c:@_asyncio*,task_*,TaskStep*,call_soon  # a module, or in the interpreter
step = ( c:context_run*,_PyContext_Run* )? ( task )+ ( coroutine | again )
stack = root loop
        ( py:selectors.py:*,asyncio/base_events.py:*,asyncio/selector_events.py:*
        | py:asyncio/events.py:Handle._run step )
"""

import asyncio


def busy(number):
    for bit in range(100):
        number ^= bit
    return number


async def turn():
    while True:
        for number in range(10):
            busy(number)
        await asyncio.sleep(0)


async def main():
    tasks = [asyncio.create_task(turn()) for _ in range(2)]
    print("ready", flush=True)
    await asyncio.gather(*tasks)


asyncio.run(main())
