"""One inline SVG drawing. Colours come from the page's style, so a drawing follows its theme."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def svg(width: float, height: float, identifier: str, title: str, text: str, body: Iterable[str], kind: str) -> str:
    """A drawing with a title and a description for those who do not see it; `body` is SVG, the rest plain text."""
    name = escape(identifier, quote=True)
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(text)}</desc>{"".join(body)}</svg>'
    )
