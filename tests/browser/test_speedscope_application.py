"""Our speedscope file in the real application, read back from the page in Chromium."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mixstack.export.speedscope import write_speedscope
from mixstack.model import Profile
from tests.browser.application import HERE, RELEASE, NotInstallable, install
from tests.unit.export.profiles import LOAD, MAIN, TWO_THREADS, profile, thread

PageReader = Callable[[Profile], Any]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: the log of the server is not the log of the test."""


@pytest.fixture(scope="module")
def application_url() -> Iterator[str]:
    """The application on a loopback port: browsers restrict what a page from file:// may do."""
    try:
        install()
    except NotInstallable as reason:
        pytest.skip(str(reason))
    handler = functools.partial(_Quiet, directory=str(RELEASE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@pytest.fixture
def read_page(application_url: str, tmp_path: Path) -> PageReader:
    """Opens a profile in the application and returns what `read_page.mjs` found on the page."""
    node, chromium = shutil.which("node"), shutil.which("chromium")
    if node is None or chromium is None:
        pytest.skip("node is not installed" if node is None else "chromium is not installed")

    def read(value: Profile) -> Any:
        file = tmp_path / "profile.speedscope.json"
        with open(file, "w") as stream:
            write_speedscope(value, stream)
        command = [node, str(HERE / "read_page.mjs"), chromium, application_url, file, tmp_path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.stdout, f"nothing was read (screenshots: {tmp_path}): {done.stderr[-2000:]}"
        return json.loads(done.stdout)

    return read


def test_the_application_shows_our_frames_times_and_threads(read_page: PageReader) -> None:
    page = read_page(TWO_THREADS)

    assert page["problems"] == []
    assert page["title"] == "python app.py - speedscope"
    assert page["profiles"] == [
        {"name": "all threads", "total": "118.00ms"},
        {"name": "MainThread (101)", "total": "78.00ms"},  # the application leaves out idle time
        {"name": "worker; one (102)", "total": "40.00ms"},
    ]
    rows = [(row["name"], row["total"], row["self"], row["file"]) for row in page["everything"]]
    zero = "0.00ns"
    assert sorted(rows, key=lambda row: (row[0], row[1])) == [
        ("<lambda>", "24.00ms", "24.00ms", "/srv/app/app.py"),
        ("<module>", "98.00ms", zero, "/srv/app/app.py"),
        ("Store.load", "10.00ms", "10.00ms", "/srv/app/store.py"),
        ("Store.load", "34.00ms", "34.00ms", "/srv/app/store.py"),
        ("[unwinding stopped]", "10.00ms", zero, None),
        ("ext4_file_read_iter", "10.00ms", "10.00ms", "ext4"),
        ("ksys_read", "10.00ms", zero, "[kernel]"),
        ("libz.so.1+0x3a10", "30.00ms", "30.00ms", "/usr/lib/libz.so.1"),
        ("list_sort_impl", "24.00ms", zero, "/usr/lib/libpython3.12.so.1.0"),
        ("main", "108.00ms", zero, "/usr/bin/python3.12"),
        ("naïve \u2028 \udcff", "10.00ms", "10.00ms", None),
        ("void ns::run<int; 2>( )", "20.00ms", zero, "/opt/ext/_fast.so"),
    ]
    assert {row["name"] for row in page["firstThread"]} == {
        "main",
        "<module>",
        "Store.load",
        "list_sort_impl",
        "<lambda>",
        "ksys_read",
        "ext4_file_read_iter",
    }


def test_many_threads_and_a_deep_stack_open(read_page: PageReader) -> None:
    deep = (MAIN, *[LOAD._replace(line=line) for line in range(700)])
    page = read_page(
        profile(
            *(thread(tid, f"pool-{tid}", tid, [(1, 5), (0, 3), (1, 2)]) for tid in range(40)),
            stacks=((), deep),
        )
    )

    assert page["problems"] == []
    assert len(page["profiles"]) == 41
    assert page["profiles"][0] == {"name": "all threads", "total": "280.00ms"}
    leaf = {"name": "Store.load", "total": "280.00ms", "self": "280.00ms", "file": LOAD.file}
    assert page["everything"][0] == leaf  # the table is sorted by self time
