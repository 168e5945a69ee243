"""Users and groups as a configuration names them: by name or by number."""

import grp
import pwd
import re
from collections.abc import Callable

LARGEST = (1 << 32) - 2
"""The largest uid and gid: to the kernel, 2**32 - 1 means "none"."""


def problem(text: str) -> str:
    """Say what is wrong with a name or number on any host; empty: nothing. Pure."""
    if re.fullmatch("[0-9]+", text):
        if len(text) > 10 or int(text) > LARGEST:
            return f"is not 0 to {LARGEST}"
    elif not text or not text.isprintable() or re.search(r"[\s:/]", text):
        return "is neither a name nor a number"
    return ""


def uid_of(user: str) -> int:
    """Return a user's uid. A number is accepted even if this host knows no such user.

    Raises:
        ValueError: no user can be called so, or this host has none of that name. The
            message does not repeat the name.
    """
    number = _number(user)
    return _found(lambda: pwd.getpwnam(user).pw_uid) if number is None else number


def gid_of(group: str) -> int:
    """Return a group's gid, as `uid_of` does a user's uid; raises ValueError."""
    number = _number(group)
    return _found(lambda: grp.getgrnam(group).gr_gid) if number is None else number


def group_of(uid: int) -> int:
    """Return a user's own group; raises ValueError where the user is not known."""
    return _found(lambda: pwd.getpwuid(uid).pw_gid)


def _number(text: str) -> int | None:
    if wrong := problem(text):
        raise ValueError(wrong)
    # Only ASCII digits: int refuses some that str.isdigit accepts ("²"), and accepts
    # some that nobody else reads as a number ("٣").
    return int(text) if re.fullmatch("[0-9]+", text) else None


def _found(look: Callable[[], int]) -> int:
    try:
        return look()
    except (KeyError, OSError):
        raise ValueError("is not on this host") from None
