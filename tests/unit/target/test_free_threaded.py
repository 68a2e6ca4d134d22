"""A free-threaded interpreter's memory, made by a program that is compiled with its headers.

No free-threaded build is at hand: what is shown is that its table of offsets, structures as the
compiler lays them out, and a list of threads are found and read.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mixstack.target.interpreter import FoundInterpreter, find_interpreter
from mixstack.target.process import TargetProcess
from mixstack.target.thread_states import has_several_interpreters
from tests.interpreters import Build, supported

from .memory import Memory
from .test_layouts import build_program, table_in_c

# One thread that runs f at its third copied instruction, in its second copy of the bytecode.
IMAGE = """
#include <pthread.h>
#include <unistd.h>
#undef _PyRuntime
_PyRuntimeState _PyRuntime = { .debug_offsets = %s };
PyTypeObject PyCode_Type;
const unsigned long Py_Version = PY_VERSION_HEX;
static PyInterpreterState interpreter;
static PyThreadState thread;
static struct { PyASCIIObject head; char data[8]; } name;
static _PyInterpreterFrame frame;
static char copies[2][8];
static struct { Py_ssize_t size; char *entries[2]; } tlbc = { 2, { copies[0], copies[1] } };
int main(void)
{
    PyCodeObject *code = calloc(1, sizeof *code);

    ((PyObject *)code)->ob_type = &PyCode_Type;
    name.head.length = 1;
    name.head.state.kind = 1;
    name.head.state.compact = name.head.state.ascii = 1;
    name.data[0] = 'f';
    code->co_name = (PyObject *)&name;
    code->co_firstlineno = 42;
    memcpy(&frame, &code, sizeof code); /* f_executable comes first, whatever its type */
#if PY_VERSION_HEX >= 0x030e0000
    *(char *)&frame |= Py_TAG_DEFERRED_BIT;
    code->co_tlbc = (void *)&tlbc;
    frame.tlbc_index = 1;
    frame.instr_ptr = (void *)(copies[1] + 4);
#endif
    thread.interp = &interpreter;
    thread.thread_id = pthread_self();
    thread.current_frame = &frame;
    interpreter.threads.head = &thread;
    _PyRuntime.interpreters.head = &interpreter;
    if (write(1, "ready\\n", 6)) pause();
}
"""


@pytest.mark.parametrize("build", supported(lambda b: b.minor >= (3, 13)))
def test_what_a_free_threaded_interpreter_holds(build: Build, tmp_path: Path) -> None:
    tag = "1" if build.minor >= (3, 14) else "0"
    image = (IMAGE % table_in_c(build)).replace("Py_TAG_DEFERRED_BIT", tag)
    program = build_program(build, tmp_path, image, free_threaded=True)
    with subprocess.Popen([str(program)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        process = TargetProcess.open(child.pid)
        answer = find_interpreter(process, process.maps())
        assert isinstance(answer, FoundInterpreter), answer
        assert answer.ready
        assert answer.note is None
        at = answer.layout
        memory = Memory(process.read, at)
        assert not has_several_interpreters(process.read, answer.interp_head, at)
        interp = memory.word(answer.interp_head)
        tstate = memory.word(interp + at.interp_threads_head)
        frame = memory.word(tstate + at.tstate_frame)
        code = memory.word(frame + at.frame_code) & ~7
        assert memory.word(code + at.object_type) == answer.code_type
        assert memory.text(memory.word(code + at.code_name)) == "f"
        assert memory.number(code + at.code_first_line) == 42
        if build.minor >= (3, 14):
            assert at.code_tlbc is not None
            assert at.frame_tlbc_index is not None
            index = memory.number(frame + at.frame_tlbc_index)
            start = memory.word(memory.word(code + at.code_tlbc) + 8 + 8 * index)
            assert memory.word(frame + at.frame_instr) - start == 4
        child.kill()
