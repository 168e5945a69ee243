"""What every part of the lab is: something that is let go of, whatever happens."""

from contextlib import ExitStack
from typing import Self


class Held:
    """A context manager that lets go of all it holds, also when entering fails."""

    _stack = ExitStack()

    def hold(self, stack: ExitStack) -> None:
        """Start, and say on `stack` what is to be undone."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.hold(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
