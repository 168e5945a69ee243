"""Where an exception that is not ours becomes one of ours.

What comes from outside may be anything, and the library that reads it may raise
anything. Each boundary (an answer, a file, one proxy's bootstrap) is one `with`::

    with boundary(ConsulError, "Consul at 10.0.0.1:8500"):
        return decode(answer)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from consul_ebpf.base.lines import one_line
from consul_ebpf.model.errors import ConsulEbpfError

SHOWN = 300
"""Characters that are shown of what a foreign exception says."""


@contextmanager
def boundary(
    error: Callable[[str], ConsulEbpfError], what: str, *, hide: str = ""
) -> Iterator[None]:
    """Turn every exception of the block that is not ours into `error(one line)`.

    Errors of ours go through as they are, and so do cancellation and the end of the
    process, which are no `Exception`.

    Args:
        error: makes the error, mostly its class.
        what: begins the line; says where the trouble comes from.
        hide: a secret that must not be shown, should the exception quote it.
    """
    try:
        yield
    except ConsulEbpfError:
        raise
    except Exception as foreign:
        raise error(f"{what}: {reason(foreign, hide=hide)}") from foreign


def reason(foreign: BaseException, *, hide: str = "") -> str:
    """Say in one printable line what an exception that is not ours means."""
    if isinstance(foreign, OSError) and foreign.strerror:
        return one_line(foreign.strerror, SHOWN)
    if isinstance(foreign, RecursionError):
        return "it is nested too deeply"
    if isinstance(foreign, UnicodeError):
        return "it is not text"  # its message would quote the data
    said = str(foreign)
    if hide:
        said = said.replace(hide, "<hidden>")
    kind = type(foreign).__name__
    return f"{kind}: {one_line(said, SHOWN)}" if said else kind
