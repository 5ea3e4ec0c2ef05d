"""The version of the runtime; `runtime/pyproject.toml` reads it here."""

__version__ = "0.1.0"
