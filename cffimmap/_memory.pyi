from typing import Any

open_memory: Any
new: Any
memory_of: Any
hand_over: Any
tune: Any
mmap: Any
