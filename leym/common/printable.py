"""Text from others, made safe to show: on a terminal, in one cell of a table, in one line of a log."""

from __future__ import annotations

import re

# C1 controls, bidirectional marks and overrides, the line separators of Unicode, and lone surrogates
_BEYOND_ASCII = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[\\x00-\\x1f{_BEYOND_ASCII}]")
_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")  # JSON escapes the others itself


def printable(text: str) -> str:
    """Show control characters as Python spells them (`\\x1b`, `\\n`), so that they neither act nor hide text."""
    return _IN_TEXT.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_json(document: str) -> str:
    """The same JSON, with escapes for the characters that act on a terminal."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
