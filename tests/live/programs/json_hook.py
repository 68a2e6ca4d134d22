"""json.loads(object_hook=...): a callback from the C scanner, which the library's Python calls.

scan = ( c:@_json*,scanner_call,scan_once*,_parse_*,_match_number* )+
decode = py:json/decoder.py:JSONDecoder.decode py:json/decoder.py:JSONDecoder.raw_decode
         scan py:hook
stack = root py:work py:json/__init__.py:loads
        ( decode | py:json/decoder.py:JSONDecoder.__init__ )
"""

import json

TEXT = json.dumps([{"number": i, "inner": {"name": str(i)}} for i in range(100)])


def hook(mapping):
    value = 0
    for bit in range(30):
        value ^= bit
    return value


def work():
    return json.loads(TEXT, object_hook=hook)


print("ready", flush=True)
while True:
    work()
