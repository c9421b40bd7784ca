"""What pyproject.toml has no words for: the compiled modules and the tag of the wheel."""

import sys
from pathlib import Path

from setuptools import setup

# Not on the path when a build front end runs this file.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from build_ffi import LIMITED_API, make_extensions

setup(
    cffi_modules=["build_ffi.py:ffibuilder"],
    ext_modules=make_extensions(),
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED_API else {},
)
