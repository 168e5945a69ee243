"""The place where a foreign exception becomes an error of ours.

Input from outside may be anything, and the library that reads it may raise anything.
Each boundary (an answer, a file, one proxy's bootstrap) is one `with`::

    with boundary(ConsulError, "Consul at 10.0.0.1:8500"):
        return decode(answer)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from consul_ebpf.base.lines import one_line
from consul_ebpf.model.errors import ConsulEbpfError

SHOWN = 300
"""Characters shown of a foreign exception's message."""


@contextmanager
def boundary(
    error: Callable[[str], ConsulEbpfError], what: str, *, hide: str = ""
) -> Iterator[None]:
    """Turn each foreign exception of the block into `error(one line)`.

    Our own errors pass unchanged. So do cancellation and `SystemExit`, which are not
    subclasses of `Exception`.

    Args:
        error: makes the error; usually its class.
        what: the start of the line: where the input came from.
        hide: a secret to remove from the line, in case the exception quotes it.
    """
    try:
        yield
    except ConsulEbpfError:
        raise
    except Exception as foreign:
        raise error(f"{what}: {reason(foreign, hide=hide)}") from foreign


def reason(foreign: BaseException, *, hide: str = "") -> str:
    """Return one printable line that says what a foreign exception means."""
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
