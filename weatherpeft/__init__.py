"""WeatherPEFT: adapt weather foundation models to a task, from raw reanalysis to a scored report.

``load`` brings a tuned model into Python. ``attach`` puts methods on an upstream Aurora of one's own, and
``fisher`` estimates what some of them need.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weatherpeft.tuned.model import Tuned, load
    from weatherpeft.tuned.own_loop import OwnLoop, attach, fisher

__version__ = "0.1.0"
__all__ = ["OwnLoop", "Tuned", "__version__", "attach", "fisher", "load"]
_MODULES = {"model": ("Tuned", "load"), "own_loop": ("OwnLoop", "attach", "fisher")}


def __getattr__(name: str) -> Any:
    """Import what a user asks for when it is first used, because torch takes seconds."""
    for module, names in _MODULES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"weatherpeft.tuned.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
