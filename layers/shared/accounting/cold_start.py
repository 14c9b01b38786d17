"""Shortens the import of a function, which imports this module before all others.

While a function is imported, garbage collection finds nothing, but takes a twelfth of the processor time. Powertools
imports asyncio for kinds of events that the service does not have, which takes a tenth.
"""

import gc
import sys
from importlib.machinery import PathFinder
from threading import Lock
from types import ModuleType
from typing import Any

_replacing = Lock()


class _Asyncio(ModuleType):
    """A module in place of asyncio. Its first use imports asyncio, and every use returns what asyncio has.

    ``importlib.util.LazyLoader`` would import asyncio as soon as two modules import it. Three modules of Powertools do.
    """

    def __getattr__(self, name: str) -> Any:
        with _replacing:
            if sys.modules.get("asyncio") is self:
                del sys.modules["asyncio"]
        import asyncio

        return getattr(asyncio, name)


def end() -> None:
    """Turn garbage collection on. It skips the objects that the import has made, because they stay."""
    gc.freeze()
    gc.enable()


gc.disable()
if "asyncio" not in sys.modules:
    sys.modules["asyncio"] = _Asyncio("asyncio")
    sys.modules["asyncio"].__spec__ = PathFinder.find_spec("asyncio")
