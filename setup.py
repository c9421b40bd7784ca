"""What pyproject.toml has no words for: cffi's module and the tag of the wheel."""

import platform
import sys
import sysconfig

from setuptools import setup

ABI3 = (
    platform.python_implementation() == "CPython"
    and sys.version_info >= (3, 12)
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)

setup(
    cffi_modules=["build_ffi.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp312"}} if ABI3 else {},
)
