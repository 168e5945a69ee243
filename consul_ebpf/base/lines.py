"""Text from elsewhere, made one printable line. Pure.

A node's name, an answer's text or a path may hold line ends and terminal codes. In a
log they could forge lines or clear a screen, so everything shown goes through here.
"""

SHOWN = 2000
"""Characters of one line at most: a log line is read by people."""

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    r"""Return `text` with everything that does not print written as an escape.

    Spaces stay. Line ends, control characters, what turns the direction of writing and
    halves of surrogate pairs become `\n`, `\x1b`, `\u2028`, `\ud800`.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else _SHORT.get(each) or _escaped(each)
        for each in text
    )


def one_line(text: object, limit: int = SHOWN) -> str:
    """Return `str(text)` as one printable line of at most `limit` characters.

    White space at the ends is left out, and each run of it becomes one space.
    """
    line = printable(" ".join(str(text)[: 4 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
