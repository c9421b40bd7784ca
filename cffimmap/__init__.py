"""The newest `mmap` module on every interpreter: `import cffimmap as mmap`.

The API is that of CPython 3.15's `mmap`, on CPython 3.9 to 3.15 and on PyPy. `install` puts this module in the
place of `mmap` for programs that say `import mmap`.
"""

from __future__ import annotations

from importlib.metadata import version as _version

from cffimmap._constants import *  # noqa: F403, the names that this platform has
from cffimmap._install import install as install
from cffimmap._install import uninstall as uninstall
from cffimmap._mmap import mmap as mmap

__version__ = _version("cffimmap")

error = OSError

