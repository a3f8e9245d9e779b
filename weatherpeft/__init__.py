"""WeatherPEFT: adapt weather foundation models to a task, from raw reanalysis to a scored report.

``load`` brings a tuned model into Python.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weatherpeft.tuned.model import Tuned, load

__version__ = "0.1.0"
__all__ = ["Tuned", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import what a user asks for when it is first used, because torch takes seconds."""
    if name in ("Tuned", "load"):
        from weatherpeft.tuned import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
