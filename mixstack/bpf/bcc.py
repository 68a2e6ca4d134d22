"""bcc, the second loader: where the distribution keeps it, and which version it is."""

from __future__ import annotations

import os
import re
import sys
from typing import Final

# bcc comes with the distribution, for the distribution's own Python; an environment of its own does
# not see it. It is plain Python above libbcc.so, which fits any version.
_FOLDERS: Final = (
    "/usr/lib/python3/dist-packages",
    *(f"/usr/lib/python3.{minor}/site-packages" for minor in range(20, 8, -1)),
)
_VERSION: Final = re.compile(r"^__version__ = '([\w.+-]+)'", re.MULTILINE)


def bcc_folder() -> str | None:
    """The folder of the package `bcc`; None if it is not installed."""
    for folder in (*sys.path, *_FOLDERS):
        package = os.path.join(folder, "bcc")
        if os.path.isfile(os.path.join(package, "libbcc.py")):  # the PyPI has another bcc
            return package
    return None


def bcc_version() -> str | None:
    """bcc's version, such as "0.26.0", without loading it; None if it is not installed."""
    folder = bcc_folder()
    if folder is None:
        return None
    try:
        with open(os.path.join(folder, "version.py")) as file:
            found = _VERSION.search(file.read())
    except (OSError, ValueError):
        return None
    return found[1] if found is not None else None
