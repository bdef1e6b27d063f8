"""An answer of the service as XML: parsed strictly, read by element name.

The rule: an element we do not know is passed over, an element that is absent, empty or nil is
None, and a value that does not parse is a ContractError which names the element and never shows
the value. Namespaces are not looked at: no two elements of an answer differ by namespace alone.

Everything here is plain computing and may take tens of milliseconds on a long answer: it is
called in a thread. What the elements mean is `mapping`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation

from lxml import etree

from mailbridge.marketplace.cdiscount import times
from mailbridge.marketplace.port import ContractError

__all__ = ["Node", "parse"]

_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_REFERENCE = re.compile(rb"&#(?:x([0-9A-Fa-f]{1,8})|([0-9]{1,8}));")
# .NET's DateTime.MinValue and MaxValue, which a field that can't be nil carries for "none".
_NO_DATE_YEARS = (1, 9999)
_YEARS = range(1900, 2200)
"""Beyond them a date is a fault, and arithmetic with it might overflow."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]*)?|\.[0-9]+)", re.ASCII)


def parse(body: bytes) -> Node:
    """The root of a well-formed document without a document type; else ContractError."""
    try:
        root = _strict(body)
    except etree.XMLSyntaxError as error:
        # A .NET service writes a control character that a customer pasted as `&#x1F;`, which
        # XML 1.0 forbids. One such message must not hide every discussion of the answer.
        mended = _REFERENCE.sub(_allowed, body)
        if mended == body:
            raise ContractError(f"the answer is not well-formed XML ({_place(error)})") from None
        try:
            root = _strict(mended)
        except etree.XMLSyntaxError as second:
            raise ContractError(f"the answer is not well-formed XML ({_place(second)})") from None
    if root.getroottree().docinfo.doctype:
        raise ContractError("the answer has a document type declaration")
    return Node(root)


def _strict(body: bytes) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )
    return etree.fromstring(body, parser)


def _place(error: etree.XMLSyntaxError) -> str:
    """Where it broke; libxml2's own words may quote the customer's."""
    line, column = error.position
    return f"line {line}, column {column}"


def _allowed(reference: re.Match[bytes]) -> bytes:
    code = int(reference[1], 16) if reference[1] else int(reference[2])
    plain = code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD
    return reference[0] if plain or 0x10000 <= code <= 0x10FFFF else b"&#xFFFD;"


class Node:
    """One element and the names under it. `where` names it in errors."""

    __slots__ = ("_children", "_element", "name", "where")

    def __init__(self, element: etree._Element, where: str = "") -> None:
        self.name: str = _local(element)
        self.where = where or self.name
        self._element = element
        self._children: dict[str, etree._Element] | None = None

    def child(self, name: str) -> Node | None:
        """The first child of this name; None if absent or nil."""
        if self._children is None:
            self._children = {}
            for element in self._element:
                self._children.setdefault(_local(element), element)
        found = self._children.get(name)
        if found is None or found.get(_NIL) in ("true", "1"):
            return None
        return Node(found, f"{self.where}/{name}")

    def items(self, name: str, item: str) -> Iterator[Node]:
        """The elements of a list; none where the list is absent, nil or empty."""
        holder = self.child(name)
        if holder is not None:
            yield from holder.every(item)

    def every(self, name: str) -> Iterator[Node]:
        """The child elements of this name that are not nil."""
        for element in self._element:
            if _local(element) == name and element.get(_NIL) not in ("true", "1"):
                yield Node(element, f"{self.where}/{name}")

    def text(self, name: str) -> str:
        """The text of a child exactly as it stands; empty if absent, nil or empty."""
        node = self.child(name)
        return "" if node is None else node.own_text()

    def own_text(self) -> str:
        """This element's own text, without that of elements inside it."""
        return self._element.text or ""

    def integer(self, name: str) -> int | None:
        """A whole number, None if absent; ContractError if it is none."""
        text = self.text(name).strip()
        if text and not _INTEGER.fullmatch(text):
            raise self.broken(name, "not a whole number")
        return int(text) if text else None

    def decimal(self, name: str) -> Decimal | None:
        """An exact decimal, None if absent; ContractError if it is none."""
        text = self.text(name).strip()
        if not text:
            return None
        try:
            if not _DECIMAL.fullmatch(text):
                raise InvalidOperation
            return Decimal(text)
        except InvalidOperation:
            raise self.broken(name, "not a decimal number") from None

    def boolean(self, name: str) -> bool | None:
        """True or false, None if absent; ContractError if it is neither."""
        match self.text(name).strip():
            case "":
                return None
            case "true" | "1":
                return True
            case "false" | "0":
                return False
            case _:
                raise self.broken(name, "neither true nor false")

    def time(self, name: str) -> datetime | None:
        """A time as it came (`times.parse_time`), None if absent or .NET's empty date."""
        text = self.text(name)
        if not text.strip():
            return None
        try:
            value = times.parse_time(text)
        except (ValueError, OverflowError):
            raise self.broken(name, "not a date and time") from None
        if value.year in _NO_DATE_YEARS:
            return None
        if value.year not in _YEARS:
            raise self.broken(name, "not a date of our time")
        return value

    def broken(self, name: str, what: str) -> ContractError:
        """The error for a child that breaks the contract."""
        return ContractError(f"{self.where}/{name}: {what}")


def _local(element: etree._Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""
