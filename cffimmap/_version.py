"""The version, here alone: pyproject.toml reads it, and a frozen program has no metadata to ask."""

__version__ = "0.1.0"
