"""The example of the mmap documentation: reads and changes a file through a mapping."""

from __future__ import annotations

from pathlib import Path

import cffimmap as mmap

path = Path("hello.txt")
path.write_bytes(b"Hello Python!\n")

with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as m:
    print(m.readline())
    print(m[:5])
    m[6:] = b" world!\n"
    m.seek(0)
    print(m.readline())

print(path.read_bytes())
path.unlink()
