"""Programs whose native code is somebody's: what each needs, and what it does for ever.

The code of each runs behind `print("ready", flush=True)` of its own, once all is imported.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple


class NativeProgram(NamedTuple):
    """needs: modules that it imports from outside of the standard library. child: what is recorded
    is its child process. cpp: C++ (pybind11) that it imports as `built`."""

    name: str
    code: str
    needs: tuple[str, ...] = ()
    child: bool = False
    cpp: str | None = None


_SPIN: Final = "print('ready', flush=True)\nwhile True:\n"

_PYBIND: Final = r"""
#include <pybind11/pybind11.h>
#include <stdexcept>
#include <string>
namespace py = pybind11;
struct Guard { volatile int n = 0; ~Guard() { for (int i = 0; i < 50; i++) n = i; } };
static int fall(int depth) {
    Guard guard;
    if (depth == 0) throw std::runtime_error("bottom");
    return fall(depth - 1) + guard.n;
}
static double call(py::function f, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += f(i).cast<double>();
    return sum;
}
static int caught(int depth) {
    try {
        return fall(depth);
    } catch (const std::exception &e) {
        return std::string(e.what()).size();
    }
}
PYBIND11_MODULE(built, m) {
    m.def("call", &call);
    m.def("caught", &caught);
    m.def("fall", &fall);
}
"""

PROGRAMS: Final = (
    NativeProgram(
        "pure Python",
        "def f(n): return n if n < 2 else f(n - 1) + f(n - 2)\n" + _SPIN + "    f(15)",
    ),
    NativeProgram(
        "sqlite3",
        "import sqlite3\n"
        "db = sqlite3.connect(':memory:')\n"
        "db.execute('create table t (a integer, b text)')\n"
        "db.create_function('twice', 1, lambda n: 2 * n)\n" + _SPIN + "    with db:\n"
        "        db.executemany('insert into t values (?, ?)', ((i, str(i)) for i in range(500)))\n"
        "    list(db.execute('select twice(a), count(*) from t group by b order by b desc'))\n"
        "    db.execute('delete from t')",
    ),
    NativeProgram(
        "zlib",
        "import zlib, os\ndata = os.urandom(1 << 16) + bytes(1 << 18)\n"
        + _SPIN
        + "    zlib.decompress(zlib.compress(data, 6)); zlib.crc32(data)",
    ),
    NativeProgram(
        "hashlib (OpenSSL)",
        "import hashlib\ndata = bytes(1 << 16)\n"
        "names = sorted(hashlib.algorithms_guaranteed)\n" + _SPIN + "    for name in names:\n"
        "        h = hashlib.new(name, data)\n"
        "        h.digest(20) if h.digest_size == 0 else h.digest()\n"
        "    hashlib.pbkdf2_hmac('sha512', b'a', b'b', 200)\n"
        "    hashlib.scrypt(b'a', salt=b'b', n=16, r=8, p=1)",
    ),
    NativeProgram(
        "ssl (handshakes)",
        "import ssl, subprocess, tempfile, os\n"
        "folder = tempfile.mkdtemp(); pem = os.path.join(folder, 'pem')\n"
        "subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj',"
        " '/CN=x', '-keyout', pem + 'k', '-out', pem], check=True, capture_output=True)\n"
        "server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); server.load_cert_chain(pem, pem + 'k')\n"
        "client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
        "client.check_hostname = False; client.verify_mode = ssl.CERT_NONE\n"
        "def shake():\n"
        "    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()\n"
        "    ends = [client.wrap_bio(a, b), server.wrap_bio(b, a, server_side=True)]\n"
        "    for _ in range(4):\n"
        "        for end in ends:\n"
        "            try: end.do_handshake()\n"
        "            except ssl.SSLWantReadError: pass\n"
        "    ends[0].write(bytes(1 << 14)); ends[1].read(1 << 14)\n" + _SPIN + "    shake()",
    ),
    NativeProgram(
        "re, a pattern that backtracks",
        "import re\npattern = re.compile('(?:(a+)|(b+))*c')\n"
        + _SPIN
        + "    pattern.match('ab' * 12)\n"
        "    re.sub('(a+)(b*)', lambda m: m[2] + m[1], 'aabab' * 50)",
    ),
    NativeProgram(
        "json",
        "import json\ndata = {str(i): [i, i / 3, 'x' * i, None] for i in range(100)}\n"
        + _SPIN
        + "    json.loads(json.dumps(data), object_hook=lambda d: d)",
    ),
    NativeProgram(
        "pickle",
        "import pickle\n"
        "class C:\n    def __reduce__(self): return C, ()\n"
        "data = [{str(i): (i, C())} for i in range(100)]\n"
        + _SPIN
        + "    pickle.loads(pickle.dumps(data))",
    ),
    NativeProgram(
        "decimal",
        "from decimal import Decimal, getcontext\ngetcontext().prec = 2000\n"
        + _SPIN
        + "    Decimal(2).sqrt() * Decimal(3).ln()",
    ),
    NativeProgram(
        "the clock (vDSO)",
        "import time\n" + _SPIN + "    time.monotonic(); time.time(); time.perf_counter_ns()",
    ),
    NativeProgram(
        "a Python signal handler in C",
        "import signal, time\n"
        "def handler(n, frame): sum(range(200))\n"
        "signal.signal(signal.SIGALRM, handler)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)\n"
        + _SPIN
        + "    sorted(range(5000), key=str); time.sleep(0.0005)",
    ),
    NativeProgram(
        "ctypes call-backs (libffi)",
        "import ctypes\nlibc = ctypes.CDLL(None); pointer = ctypes.POINTER(ctypes.c_int)\n"
        "kind = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)\n"
        "compare = kind(lambda a, b: a[0] - b[0]); array = (ctypes.c_int * 50)\n"
        + _SPIN
        + "    libc.qsort(array(*range(50, 0, -1)), 50, 4, compare)",
    ),
    NativeProgram(
        "a child of os.fork",
        "import os, time\nread, write = os.pipe()\n"
        "if os.fork():\n    os.read(read, 1)\n    print('ready', flush=True)\n"
        "    while True: time.sleep(60)\n"
        "import json\nfirst = os.getppid()\nos.write(write, b'.')\n"
        "while os.getppid() == first: json.dumps(list(range(100)))",
        child=True,
    ),
    NativeProgram(
        "imports (lazy binding)",
        "import importlib, sys\n"
        "names = [n for n in ('_json', '_pickle', '_struct', '_csv', '_heapq', 'math',"
        " '_elementtree')]\n" + _SPIN + "    for name in names:\n"
        "        sys.modules.pop(name, None); importlib.import_module(name)",
    ),
    NativeProgram(
        "numpy + openblas, with threads",
        "import numpy as np\na = np.random.rand(300, 300)\n" + _SPIN + "    a @ a\n"
        "    np.linalg.svd(a[:80, :80])\n"
        "    np.linalg.solve(a, a[0])\n"
        "    (a * 2 + np.sin(a)).sum(axis=1)",
        ("numpy",),
    ),
    NativeProgram(
        "numpy.random (Cython)",
        "import numpy as np\nr = np.random.default_rng(1)\n"
        + _SPIN
        + "    r.normal(size=2000); r.integers(9, size=50); r.shuffle(list(range(100)))",
        ("numpy",),
    ),
    NativeProgram(
        "scipy",
        "import numpy as np, scipy.optimize, scipy.fft, scipy.sparse.linalg, scipy.integrate\n"
        "rosen = scipy.optimize.rosen; a = scipy.sparse.random(200, 200, 0.05) +"
        " scipy.sparse.eye(200) * 9\n"
        + _SPIN
        + "    scipy.optimize.minimize(rosen, [1.3, 0.7, 0.8]); scipy.fft.fft(np.ones(5000))\n"
        "    scipy.sparse.linalg.spsolve(a.tocsc(), np.ones(200))\n"
        "    scipy.integrate.quad(lambda x: x * x, 0, 1)\n"
        "    scipy.optimize.brentq(lambda x: x - 1, 0, 3)",
        ("scipy",),
    ),
    NativeProgram(
        "pandas",
        "import pandas as pd, numpy as np\n"
        "d = pd.DataFrame({'k': np.arange(5000) % 37, 'v': np.arange(5000.0), 's':"
        " ['x%d' % (i % 9) for i in range(5000)]})\n"
        + _SPIN
        + "    d.groupby('k').v.agg(['sum', 'median'])\n"
        "    d.merge(d[:50], on='k')\n"
        "    d.sort_values('s')\n"
        "    d.groupby('s').v.apply(lambda v: v.max())",
        ("pandas",),
    ),
    NativeProgram(
        "torch on the CPU",
        "import torch\n"
        "net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(),"
        " torch.nn.Linear(8 * 900, 10))\n"
        "x = torch.rand(8, 3, 32, 32)\n" + _SPIN + "    net(x).sum().backward()\n"
        "    torch.fft.fft(x)\n"
        "    torch.linalg.svd(torch.rand(40, 40))\n"
        "    x.sort()",
        ("torch",),
    ),
    NativeProgram(
        "orjson (Rust)",
        "import orjson\ndata = {str(i): [i, i / 3, 'x' * i, None] for i in range(100)}\n"
        + _SPIN
        + "    orjson.loads(orjson.dumps(data)); orjson.dumps([{1}], default=list)",
        ("orjson",),
    ),
    NativeProgram(
        "pydantic-core (Rust)",
        "from pydantic_core import SchemaValidator, core_schema as cs\n"
        "v = SchemaValidator(cs.list_schema(cs.typed_dict_schema({'a': cs.typed_dict_field("
        "cs.no_info_after_validator_function(lambda n: n + 1, cs.int_schema())),"
        " 'b': cs.typed_dict_field(cs.str_schema())})))\n"
        "data = [{'a': i, 'b': str(i)} for i in range(100)]\n"
        + _SPIN
        + "    v.validate_python(data)",
        ("pydantic_core",),
    ),
    NativeProgram(
        "polars (Rust, threads)",
        "import polars as pl\n"
        "d = pl.DataFrame({'k': [i % 37 for i in range(20000)], 'v': list(range(20000))})\n"
        + _SPIN
        + "    d.group_by('k').agg(pl.col('v').sum()).sort('k')\n"
        "    d.lazy().filter(pl.col('v') > 5).collect()",
        ("polars",),
    ),
    NativeProgram(
        "uvloop",
        "import asyncio, uvloop\n"
        "async def serve(r, w):\n"
        "    while line := await r.readline(): w.write(line)\n"
        "async def main():\n"
        "    s = await asyncio.start_server(serve, '127.0.0.1', 0)\n"
        "    r, w = await asyncio.open_connection(*s.sockets[0].getsockname())\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        w.write(b'hello\\n'); await r.readline()\n"
        "uvloop.run(main())",
        ("uvloop",),
    ),
    NativeProgram(
        "contourpy, kiwisolver (pybind11, C++)",
        "import contourpy, kiwisolver, numpy as np\n"
        "z = np.random.rand(60, 60)\n"
        "def solve():\n"
        "    s = kiwisolver.Solver(); x = [kiwisolver.Variable(str(i)) for i in range(20)]\n"
        "    for a, b in zip(x, x[1:]): s.addConstraint(a + 1 <= b)\n"
        "    s.updateVariables()\n"
        + _SPIN
        + "    contourpy.contour_generator(z=z).lines(0.5); solve()",
        ("contourpy", "kiwisolver"),
    ),
    NativeProgram(
        "C++ exceptions (pybind11)",
        "import sys; sys.path.insert(0, sys.argv[1])\nimport built\n"
        + _SPIN
        + "    built.caught(20); built.call(lambda n: n / 2, 50)\n"
        "    try: built.fall(10)\n"
        "    except RuntimeError: pass",
        ("pybind11",),
        cpp=_PYBIND,
    ),
    NativeProgram(
        "numba (its code has rules where it registers them)",
        "import numba, numpy as np\n"
        "@numba.njit\ndef f(a):\n    s = 0.0\n    for x in a: s += x * x % 3\n    return s\n"
        "a = np.arange(20000.0); f(a)\n" + _SPIN + "    f(a)",
        ("numba",),
    ),
)


def chosen(python: str, words: Sequence[str]) -> Iterator[NativeProgram]:
    """Those with one of the words in their names; says which this interpreter cannot run."""
    for program in PROGRAMS:
        if words and not any(word in program.name for word in words):
            continue
        missing = [name for name in program.needs if not _has(python, name)]
        if missing:
            print(f"{program.name}: left out, without {', '.join(missing)}", flush=True)
            continue
        yield program


def _has(python: str, module: str) -> bool:
    code = f"import importlib.util as u; raise SystemExit(u.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def build(python: str, program: NativeProgram, folder: Path) -> list[str]:
    """The command that runs a program; what it needs built is put into the folder."""
    if program.cpp is not None:
        (folder / "built.cpp").write_text(program.cpp)
        found = [python, "-m", "pybind11", "--includes"]
        flags = subprocess.run(found, check=True, capture_output=True, text=True).stdout.split()
        compiler = ["g++", "-O2", "-shared", "-fPIC", "-std=c++17", *flags]
        subprocess.run([*compiler, "built.cpp", "-o", "built.so"], cwd=folder, check=True)
    return [python, "-c", program.code, str(folder)]
