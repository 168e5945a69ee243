"""Makes text from elsewhere one printable line. Pure.

A node's name, an answer or a path may hold line ends and terminal codes, which could
forge log lines or clear a screen. So all such text is shown through these functions.
"""

SHOWN = 2000
"""Most characters of a line: people read it."""

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    r"""Return `text` with each unprintable character written as an escape.

    Spaces stay. Line ends, control characters, characters that change the direction of
    writing, and lone surrogates become `\n`, `\x1b`, `\u202e`, `\ud800`.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else _SHORT.get(each) or _escaped(each)
        for each in text
    )


def one_line(text: object, limit: int = SHOWN) -> str:
    """Return `str(text)` as one printable line of at most `limit` characters.

    White space at both ends is removed, and each run of it becomes one space.
    """
    line = printable(" ".join(str(text)[: 4 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
