"""The page of our SVG pictures: one file that needs nothing beside itself and reads well on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = """
svg { font-family: ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
.page { fill: #ffffff; } .title { fill: #1b1f24; font-size: 17px; font-weight: 600; }
.text { fill: #57606a; font-size: 11px; } .name { fill: #1b1f24; font-size: 11px; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; } .title, .name { fill: #e6edf3; } .text { fill: #9198a1; }
}
"""


def svg_page(
    title: str, subtitle: str, parts: Iterable[str], *, width: float, height: float, left: float, style: str
) -> str:
    """The whole file.

    Parameters: title and subtitle, two lines of text above the picture, `left` pixels from the edge; parts, the
    elements of the picture, below 60 pixels; style, what they add to ours, for light pages and dark ones.
    """
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" role="img" aria-label="{escape(title)}">',
            f"<style>{STYLE}{style}</style>",
            f'<rect class="page" width="{width:g}" height="{height:g}"/>',
            f'<text class="title" x="{left:g}" y="32">{escape(title)}</text>',
            f'<text class="text" x="{left:g}" y="52">{escape(subtitle)}</text>',
            *parts,
            "</svg>\n",
        ]
    )
