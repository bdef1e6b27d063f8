"""HTML bodies as text: what a reader saw of them, less the quotes that clients mark as such.

Quotes and signatures are taken out of the tree first, where they have names; each quote leaves a
line `QUOTE` behind, so that `quotes` can judge the text around it as it does plain text. Hidden
elements, comments, scripts and pictures are never read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from inscriptis.css_profiles import CSS_PROFILES
from inscriptis.html_engine import Inscriptis
from inscriptis.model.config import ParserConfig
from lxml import etree
from lxml.html import HtmlElement, HTMLParser, document_fromstring

from mailbridge.mail.quotes import QUOTE

__all__ = ["MAX_HTML", "Rendered", "render"]

MAX_HTML = 2_000_000
"""Characters; what lies behind is not read."""
_NBSP = "\ue001"
"""Stands for a no-break space while rendering: the renderer would squeeze it away, and with it
the blank lines of Word and the spaces before French signs."""
_MAX_TAGS = 150_000
_MAX_LEFT = 15_000
"""Elements left without the quotes: the renderer's time is quadratic in those of one block."""
_MAX_DEPTH = 240
"""libxml2 loses what is nested deeper than 255."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text of an HTML body, and the Content-IDs of the pictures that stand in it."""

    text: str
    content_ids: frozenset[str] = frozenset()
    sound: bool = True
    """False where part of the HTML could not be read."""


def render(html: str) -> Rendered:
    """Never raises; the time is bounded."""
    sound = len(html) <= MAX_HTML and html.count("<") <= _MAX_TAGS
    source = html[:MAX_HTML].replace(QUOTE, "").replace(_NBSP, "").replace("\0", "")
    if not sound:
        source = source[: _position(source, "<", _MAX_TAGS)]
    if not source.strip():
        return Rendered("", sound=sound)
    parser = HTMLParser(
        encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=False
    )
    try:
        tree = document_fromstring(source.encode("utf-8", "replace"), parser=parser)
        sound = sound and not _too_deep(tree)
        _take_out(tree)
        sound = _shortened(tree) and sound
        shown = frozenset(_content_ids(tree))
        _prepare(tree)
        # libxml2 cuts a tree at 255 levels, so the recursion in there is bounded as well.
        text = Inscriptis(tree, _config()).get_text()
    except (etree.LxmlError, ValueError, AssertionError, RecursionError, IndexError, TypeError):
        return Rendered("", sound=False)
    text = text.replace(_NBSP, "\u00a0")
    return Rendered("\n".join(line.rstrip() for line in text.split("\n")), shown, sound)


def _config() -> ParserConfig:
    return ParserConfig(css=CSS_PROFILES["strict"].copy(), display_links=False)


def _position(text: str, char: str, count: int) -> int:
    at = -1
    for _ in range(count):
        at = text.find(char, at + 1)
        if at < 0:
            return len(text)
    return at


def _too_deep(tree: HtmlElement) -> bool:
    depth = 0
    for event, _ in etree.iterwalk(tree, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > _MAX_DEPTH:
            return True
    return False


_UNREAD = frozenset(
    {"head", "script", "style", "template", "noscript", "title", "object", "embed", "iframe"}
    | {"svg", "math", "audio", "video", "canvas", "select", "textarea", "button", "input", "map"}
)
_TELLING_TAGS = _UNREAD | {"blockquote"}
"""Elements that are taken out whatever their attributes say; all others need some to be."""
_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|mso-hide\s*:\s*all"
    r"|(?<![\w-])(?:font-size|opacity|max-height)\s*:\s*0(?:\.0*)?(?:px|pt|em|%)?"
    r"\s*(?:!|;|$)",
    re.IGNORECASE,
)
# What each client calls its signature: Thunderbird, Gmail, Outlook web, Outlook mobile, Proton,
# Roundcube, K-9, Yahoo, Evolution, Zimbra.
_SIGNATURES = frozenset(
    {"moz-signature", "gmail_signature", "gmail_signature_prefix", "protonmail_signature_block"}
    | {"k9mail-signature", "yahoo-signature", "ymail_android_signature", "ms-outlook-mobile-sig"}
    | {"-x-evo-signature-wrapper", "-x-evo-signature", "signature", "_rc_sig"}
    | {"ms-outlook-mobile-signature", "ymail_signature", "mobile_signature"}
)
_SIGNATURE_MARKERS = frozenset({"__sig_post__", "__sig_pre__"})
# One element holds the introduction and the quote; but Gmail and Proton put what an agent types
# between or below quotes into it as well, so it goes as a whole only if the quote has no element.
_CONTAINERS = frozenset({"gmail_quote", "gmail_quote_container", "protonmail_quote"})
_QUOTES = frozenset(
    {"moz-forward-container", "moz-email-headers-table", "yahoo_quoted", "zmail_extra"}
    | {"protonmail_quote_header", "yahoo-quoted", "ms-outlook-mobile-reference-message"}
    | {"mb-quote"}
)
# The line that introduces a quote: Thunderbird's, Roundcube's. Who types above it types into it,
# and the editor gives the name to each new line, or to the agent's first one instead.
_INTRODUCTIONS = frozenset({"moz-cite-prefix", "reply-intro"})
_QUOTE_MARKERS = frozenset({"__headers__", "__quoted_text__", "__divider__"})
# The quote behind these has no element of its own: the rest of the document is the quote.
_CUTS = frozenset(
    {"appendonsend", "divrplyfwdmsg", "mail-editor-reference-message-container"}
    | {"outlookmessageheader", "stopspelling", "olk_src_body_section"}
)
_OUTLOOK_RULE = re.compile(
    r"border-top\s*:\s*(?:solid\s*#(?:e1e1e1|b5c4df)\s*1(?:\.0)?pt|1(?:\.0)?pt\s*solid\s*"
    r"(?:#(?:e1e1e1|b5c4df)|rgb\((?:225,\s*225,\s*225|181,\s*196,\s*223)\)))",
    re.IGNORECASE,
)
_FORWARD = re.compile(r"-{5,} ?(?:forwarded message|message transf)", re.IGNORECASE)
# Gmail's indent button writes this; a quote has a line at its left, or a type, or a class.
_INDENT = re.compile(
    r"margin(?:-left)?\s*:[^;]*40px.*border(?:-width)?\s*:\s*(?:none|0)", re.IGNORECASE
)


def _names(element: HtmlElement) -> Iterator[str]:
    """Class names and id in lower case, without the `x_` that Outlook web puts before others'."""
    for name in f"{element.get('class', '')} {element.get('id', '')}".lower().split():
        yield name.removeprefix("x_")


def _take_out(tree: HtmlElement) -> None:
    waiting = [tree]
    while waiting:
        element = waiting.pop()
        if not isinstance(element.tag, str):
            continue
        if not element.attrib and element.tag not in _TELLING_TAGS:
            waiting.extend(reversed(element))
            continue
        names = set(_names(element))
        marker = element.get("data-marker", "").lower()
        style = element.get("style", "")
        if element.getparent() is None or element.tag == "body":
            waiting.extend(reversed(element))
        elif element.tag in _UNREAD or "hidden" in element.attrib or _HIDDEN.search(style):
            element.drop_tree()
        elif (
            names & _SIGNATURES
            or marker in _SIGNATURE_MARKERS
            or element.get("data-smartmail") == "gmail_signature"
        ):
            _replace(element, "")
        elif names & _CUTS or (element.tag == "div" and _OUTLOOK_RULE.search(style)):
            _cut(element)
            return
        elif _is_quote(element, names, marker, style):
            _replace(element, QUOTE)
        else:
            waiting.extend(reversed(element))


def _shortened(tree: HtmlElement) -> bool:
    """Cut off what lies behind the last element that is read; True if nothing does."""
    beyond = next(islice(tree.iter(etree.Element), _MAX_LEFT, None), None)
    if beyond is not None:
        _cut(beyond)
    return beyond is None


def _is_quote(element: HtmlElement, names: set[str], marker: str, style: str) -> bool:
    if element.tag == "blockquote":
        plain = not element.get("type") and not element.get("cite") and not names
        return not (plain and _INDENT.search(style))
    if names & _CONTAINERS:
        return element.find(".//blockquote") is None or _is_forward(element)
    if "gmail_attr" in names:
        # Gmail introduces a forward as it does a quote, but the mail behind it has no element.
        return not _is_forward(element)
    if names & _INTRODUCTIONS:
        return _introduces(element)
    return marker in _QUOTE_MARKERS or bool(names & _QUOTES)


def _introduces(element: HtmlElement) -> bool:
    """One line, with its colon, right above the quote. Any other is judged as text is."""
    after = element.getnext()
    lines = [words for words in _lines_of(element) if words.strip()]
    return (
        after is not None
        and after.tag == "blockquote"
        and not (element.tail or "").strip()
        and len(lines) == 1
        and lines[0].rstrip().endswith(":")
    )


def _lines_of(element: HtmlElement) -> list[str]:
    """Its text, parted where a reader saw a line end."""
    pieces = [""]
    for event, inner in etree.iterwalk(element, events=("start", "end")):
        if inner.tag in ("br", "div", "p") and (event == "start" or inner.tag != "br"):
            pieces.append("")
        if event == "start":
            pieces[-1] += inner.text or ""
        elif inner is not element:
            pieces[-1] += inner.tail or ""
    return pieces


def _is_forward(element: HtmlElement) -> bool:
    return _FORWARD.search("".join(islice(element.itertext(), 20))[:500]) is not None


def _replace(element: HtmlElement, text: str) -> None:
    """Put a paragraph in the element's place: what stood around it must not run together."""
    tail = element.tail
    element.clear()
    element.tag = "p"
    element.text = text
    element.tail = tail


def _cut(element: HtmlElement) -> None:
    """Take out the element and all that follows it in the document."""
    here = element
    while (parent := here.getparent()) is not None:
        for after in list(here.itersiblings()):
            parent.remove(after)
        here.tail = None
        here = parent
    _replace(element, QUOTE)


def _content_ids(tree: HtmlElement) -> Iterator[str]:
    for image in tree.iter("img"):
        source = image.get("src", "")
        if source.lower().startswith("cid:"):
            yield source[4:].strip("<> ")


_NO_MARGIN = re.compile(r"margin(?:-bottom)?\s*:\s*0", re.IGNORECASE)
_LINK = re.compile(r"https?://[^\s<>\"]{3,500}", re.IGNORECASE)


def _prepare(tree: HtmlElement) -> None:
    """Write into the text what the renderer would not show, and show margins as readers saw."""
    for element in tree.iter(etree.Element):
        if element.text:
            element.text = element.text.replace("\u00a0", _NBSP)
        if element.tail:
            element.tail = element.tail.replace("\u00a0", _NBSP)
        match element.tag:
            case "p":
                # Word writes each line as a paragraph and takes its margins away in a style sheet.
                css = element.get("class", "").lower()
                if css.startswith(("mso", "x_mso")) or _NO_MARGIN.search(element.get("style", "")):
                    element.tag = "div"
            case "hr":
                element.tag = "p"
            case "a":
                _show_link(element)
            case "img":
                if _is_emoji(alt := element.get("alt", "").strip()):
                    element.tag = "span"
                    element.text = alt


def _show_link(element: HtmlElement) -> None:
    target = element.get("href", "").strip()
    words = "".join(element.itertext()).strip()
    if not words or not _LINK.fullmatch(target):
        return
    bare = re.sub(r"^https?://(?:www\.)?|/$", "", target.lower())
    if bare in words.lower():
        return
    end = etree.SubElement(element, "span")
    end.text = f" ({target})"


def _is_emoji(text: str) -> bool:
    """Clients send emoji as pictures whose alternative text is the character."""
    return 0 < len(text) <= 8 and all(
        unicodedata.category(c) in ("So", "Sk", "Mn", "Cf") for c in text
    )
