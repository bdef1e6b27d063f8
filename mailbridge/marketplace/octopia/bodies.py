"""Bodies of messages as plain text: nobody says whether they are HTML, and both were seen.

The rule: a body is read as HTML only if it holds a tag or reference that people do not type. No
word of a customer is left out, quotations and signatures least of all; what can't be rendered
within bounds has its tags cut out instead. Never raises.
"""

from __future__ import annotations

import html
import re

from inscriptis.css_profiles import CSS_PROFILES
from inscriptis.html_engine import Inscriptis
from inscriptis.model.config import ParserConfig
from lxml import etree
from lxml.html import HTMLParser, document_fromstring

__all__ = ["plain"]

_BLOCKS = r"p|div|br|table|tbody|thead|tr|td|th|ul|ol|li|h[1-6]|hr|blockquote|pre|body|html|section"
_INLINE = r"a|b|i|u|s|em|strong|span|font|small|big|sub|sup|img|center|label|head|style|script|meta"
_TAG = re.compile(rf"</?(?:{_BLOCKS}|{_INLINE})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_BLOCK = re.compile(rf"</?(?:{_BLOCKS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_REFERENCE = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,10}|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});")
_UNSEEN = re.compile(r"<(script|style|head)\b[^<>]*>|<!--", re.IGNORECASE)
_ENDS = {
    "": re.compile("-->"),
    **{n: re.compile(rf"</{n}\s*>", re.IGNORECASE) for n in ("script", "style", "head")},
}
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/li|/h[1-6]|/blockquote)\b[^<>]*>", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n{3,}")
_MOST_TAGS = 4_000
"""The renderer's time is quadratic in the elements of one block."""
_LONGEST = 500_000
_NBSP = "\ue001"
"""Stands for a no-break space while rendering: the renderer would squeeze it away."""


def plain(body: str) -> str:
    """The text of a body, with `\\n` line ends."""
    text = body.replace("\r\n", "\n").replace("\r", "\n")
    if not _TAG.search(text):
        return html.unescape(text) if _REFERENCE.search(text) else text
    if len(text) > _LONGEST or text.count("<") > _MOST_TAGS:
        return _cut(text)
    if not _BLOCK.search(text):
        # Only words are marked up: its line ends are the customer's own.
        text = text.replace("\n", "<br>")
    try:
        rendered = _rendered(text)
    except (etree.LxmlError, ValueError, AssertionError, LookupError, RecursionError, TypeError):
        return _cut(text)
    # libxml2 loses what is nested deeper than 255, and the renderer what is styled away.
    bare = _cut(text)
    return rendered if _weight(rendered) >= _weight(bare) else bare


def _weight(text: str) -> int:
    return sum(not char.isspace() for char in text)


def _rendered(text: str) -> str:
    source = text.replace(_NBSP, "").replace("\0", "").replace("\u00a0", _NBSP)
    source = re.sub(r"&nbsp;|&#160;|&#xa0;", _NBSP, source, flags=re.IGNORECASE)
    parser = HTMLParser(
        encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=False
    )
    tree = document_fromstring(f"<div>{source}</div>".encode("utf-8", "replace"), parser=parser)
    settings = ParserConfig(css=CSS_PROFILES["strict"].copy(), display_links=False)
    rendered = Inscriptis(tree, settings).get_text().replace(_NBSP, "\u00a0")
    lines = "\n".join(line.rstrip(" ") for line in rendered.split("\n"))
    return _BLANK_LINES.sub("\n\n", lines).strip("\n")


def _cut(text: str) -> str:
    shown = _BREAK.sub("\n", _seen(text[:_LONGEST]))
    return _BLANK_LINES.sub("\n\n", html.unescape(_TAG.sub("", shown))).strip("\n")


def _seen(text: str) -> str:
    """Without what no browser shows. In one pass: an end that is missing is sought once."""
    kept: list[str] = []
    at, missing = 0, set[str]()
    while (begin := _UNSEEN.search(text, at)) is not None:
        kind = (begin[1] or "").lower()
        end = None if kind in missing else _ENDS[kind].search(text, begin.end())
        if end is None:
            missing.add(kind)
            kept.append(text[at : begin.end()])
            at = begin.end()
            continue
        kept.append(text[at : begin.start()])
        at = end.end()
    return "".join((*kept, text[at:]))
