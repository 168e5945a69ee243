"""The one place that imports py-consul, without the 3.5 MB of requests.

py-consul's package imports its synchronous client, which imports requests. Only that
client uses it. So requests is imported when somebody makes such a client.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_NAME = "requests"


class _LateRequests(ModuleType):
    """Stands in for requests until one of its functions is asked for."""

    Response = object
    """Only annotations name it."""

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the real module."""
        if name.startswith("__"):  # the import system asks for these
            raise AttributeError(name)
        return getattr(importlib.import_module(_NAME), name)


late = _NAME not in sys.modules
if late:
    sys.modules[_NAME] = _LateRequests(_NAME)
try:
    from consul import aio, base
finally:
    if late:
        del sys.modules[_NAME]

__all__ = ["aio", "base"]
