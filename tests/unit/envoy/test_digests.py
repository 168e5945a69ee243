"""Digests of directories do not mix, and those of others are forgotten."""

from consul_ebpf.envoy.digests import Digests

SIZES = {"a": 4, "b": 2}


def test_each_digest_is_its_own() -> None:
    """Whatever else is noted of the same directory, or of another."""
    digests = Digests(SIZES)
    assert digests.read("/one", "a") == bytes(4)
    digests.note("/one", "a", b"aaaa")
    digests.note("/one", "b", b"bb")
    digests.note("/two", "b", b"cc")
    digests.note("/one", "a", b"AAAA")
    assert digests.read("/one", "a") == b"AAAA"
    assert (digests.read("/one", "b"), digests.read("/two", "b")) == (b"bb", b"cc")
    assert digests.read("/two", "a") == bytes(4)


def test_what_is_forgotten_is_not_known() -> None:
    """One digest, or all of the directories that are not named."""
    digests = Digests(SIZES)
    for directory in ("/one", "/two", "/three"):
        digests.note(directory, "a", b"aaaa")
        digests.note(directory, "b", b"bb")
    digests.forget("/one", "a")
    digests.forget("/unknown", "a")
    digests.keep_only(iter(("/one", "/two", "/unknown")))
    assert "2 directories" in repr(digests)
    assert (digests.read("/one", "a"), digests.read("/one", "b")) == (bytes(4), b"bb")
    assert digests.read("/two", "a") == b"aaaa"
    assert digests.read("/three", "a") == bytes(4)
