"""Runs a command and prints its wall and CPU seconds and peak RSS in MB: `usage.py COMMAND...`.

A process of its own, and a small one: a child's peak RSS begins with that of the process that
started it, which here would be the benchmark's.
"""

import os
import subprocess
import sys
import time


def main(command):
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - start
    print(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    return 1 if process.returncode else 0


sys.exit(main(sys.argv[1:]))
