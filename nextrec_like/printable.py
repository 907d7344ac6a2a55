"""Text that comes from data, shown without letting it steer the terminal."""

import re
from typing import TextIO

STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, with ESC, which begins commands of the terminal, and CR
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of writing: "gpj.exe" can look like "exe.jpg"
    "\u2028\u2029"  # ends of lines and paragraphs
    "\ud800-\udfff]"  # halves of characters, which no stream takes
)


def printable(text: str, keep: str = "") -> str:
    r"""The text with each character that steers a terminal as an escape, such as ``\x1b``.

    Args:
        text: Any text.
        keep: Characters that stay, such as the ends of lines of a table.
    """
    return STEERING.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def write_lines(stream: TextIO, text: str) -> None:
    """Writes printable lines; a character that the stream cannot encode is an escape, too."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = printable(text, keep="\n").encode(encoding, "backslashreplace").decode(encoding)
    stream.write(shown + "\n")
    stream.flush()


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
