"""Users and groups by name or number."""

import os
import pwd

import pytest

from consul_ebpf.base.accounts import gid_of, group_of, problem, uid_of


def test_a_number_need_not_be_on_this_host() -> None:
    """It is taken as it is."""
    assert (12345, 4294967294) == (uid_of("12345"), gid_of("4294967294"))


def test_a_name_is_looked_up() -> None:
    """As the host knows it."""
    ours = pwd.getpwuid(os.geteuid())
    assert ours.pw_uid == uid_of(ours.pw_name)
    assert ours.pw_gid == group_of(ours.pw_uid)
    assert 0 == gid_of("root")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("²", "is not on this host"),
        ("٣", "is not on this host"),
        ("-1", "is not on this host"),
        ("1.0", "is not on this host"),
        ("", "is neither a name nor a number"),
        ("a b", "is neither a name nor a number"),
        ("a\0", "is neither a name nor a number"),
        ("\ud800", "is neither a name nor a number"),
        ("/root", "is neither a name nor a number"),
        ("4294967295", "is not 0 to 4294967294"),
        ("9" * 5000, "is not 0 to 4294967294"),
        ("no-such-account", "is not on this host"),
    ],
)
def test_what_is_neither(text: str, said: str) -> None:
    """Told in words, whatever str.isdigit() makes of it."""
    for look in (uid_of, gid_of):
        with pytest.raises(ValueError, match=said):
            look(text)


def test_an_unknown_number_has_no_group() -> None:
    """Only the host's own users are known to have one."""
    assert not problem("4294967293")
    with pytest.raises(ValueError, match="is not on this host"):
        group_of(4294967293)
