"""The newest `mmap` module on every interpreter: `import cffimmap as mmap`.

The API is that of CPython 3.15's `mmap`, on CPython 3.9 to 3.15 and on PyPy. `install` puts this module in the
place of `mmap` for programs that say `import mmap`.
"""

from cffimmap import _constants
from cffimmap._constants import *  # noqa: F403, the names that this platform has
from cffimmap._install import install as install
from cffimmap._install import uninstall as uninstall
from cffimmap._mmap import mmap as mmap
from cffimmap._version import __version__ as __version__

error = OSError

# ruff: noqa: F405, the names of the star import
# For `from mmap import *` too, after `install`: the standard library's names, with those that the kernel has beyond them.
__all__ = [
    "ACCESS_COPY",
    "ACCESS_DEFAULT",
    "ACCESS_READ",
    "ACCESS_WRITE",
    "ALLOCATIONGRANULARITY",
    "PAGESIZE",
    "error",
    "mmap",
    *_constants.NAMES,
]
