"""A sub-interpreter that runs on the thread of the main one: two thread states, one C stack.

call = ( py:concurrent/interpreters/__init__.py:* )*
run = call ( c:@_interp*,@_xxsub*,interp_*,_interp_*,_run* )+
stack = root py:work run py:<string>:<module>,<script>:<module> py:<string>:spend,<script>:spend
"""

try:
    from concurrent import interpreters
except ImportError:
    try:
        import _interpreters
    except ImportError:
        import _xxsubinterpreters as _interpreters
    NUMBER = _interpreters.create()

    def work():
        _interpreters.run_string(NUMBER, SCRIPT)

else:
    INTERPRETER = interpreters.create()

    def work():
        INTERPRETER.exec(SCRIPT)


SCRIPT = """
def spend():
    value = 0
    for bit in range(20_000):
        value ^= bit
for _ in range(10):
    spend()
"""


print("ready", flush=True)
while True:
    work()
