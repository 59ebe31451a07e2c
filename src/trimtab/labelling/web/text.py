"""Text of models and people, shown such that it can do nothing: no markup, no control characters, no turned lines."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markupsafe import Markup

_NAMES = {
    "\u061c": "ALM",
    "\u200e": "LRM",
    "\u200f": "RLM",
    "\u202a": "LRE",
    "\u202b": "RLE",
    "\u202c": "PDF",
    "\u202d": "LRO",
    "\u202e": "RLO",
    "\u2066": "LRI",
    "\u2067": "RLI",
    "\u2068": "FSI",
    "\u2069": "PDI",
    "\ufeff": "BOM",
    "\u200b": "ZWSP",
    "\u2060": "WJ",
    "\u00ad": "SHY",
}
"""Characters that change the direction of what follows, or that nobody sees."""
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff" + "".join(_NAMES) + "\U000e0000-\U000e007f]")

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def visible(text: str) -> str:
    """The text with control characters made visible: escape becomes ␛, a right-to-left override [RLO]."""
    return _HIDDEN.sub(_shown, text.replace("\r\n", "\n"))


def as_html(markdown: str) -> Markup:
    """Guidelines as HTML. Raw HTML in them is shown as text, an image is a link."""
    html = _MARKDOWN.render(visible(markdown))
    return Markup(html.replace("<a href=", '<a rel="noopener noreferrer" href='))


def _shown(match: re.Match[str]) -> str:
    character = match[0]
    if character in _NAMES:
        return f"[{_NAMES[character]}]"
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code >= 0xE0000:  # tags: letters that nobody sees and a model reads
        return f"[TAG {chr(code - 0xE0000)}]" if code > 0xE0020 else "[TAG]"
    return "␡" if code == 0x7F else "\ufffd"
