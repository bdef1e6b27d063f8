"""The service's SOAP dialect: reading requests as WCF does, writing answers as it was recorded.

Rule of reading: a DataContract reader walks its members in their fixed order (base type first,
then alphabetical). An element that comes too late, or under a name or namespace it does not
know, is skipped without a word and its member stays null. A client that orders its elements
wrongly must find out here and not in production.

Rule of writing: element order, names, nil marks and namespaces are those of the recorded answers.
Date-times are Paris local without a zone, with up to three fraction digits. What an operation
does is `operations`' business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar
from zoneinfo import ZoneInfo

from lxml import etree

__all__ = [
    "ARRAYS",
    "CD",
    "MAIL",
    "MSG",
    "PARIS",
    "SOAP",
    "MalformedRequest",
    "amount",
    "answer",
    "fault",
    "members",
    "node",
    "parse_request",
    "put",
    "read_bool",
    "read_decimal",
    "read_int",
    "read_list",
    "read_text",
    "read_time",
    "serialize",
    "stamp",
]

CD = "http://www.cdiscount.com"
MSG = "http://schemas.datacontract.org/2004/07/Cdiscount.Framework.Core.Communication.Messages"
MAIL = (
    "http://schemas.datacontract.org/2004/07/"
    "Cdiscount.Service.Marketplace.API.External.Contract.Data.Mail"
)
ARRAYS = "http://schemas.microsoft.com/2003/10/Serialization/Arrays"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
WCF = "http://schemas.microsoft.com/net/2005/12/windowscommunicationfoundation/dispatcher"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
NIL = f"{{{XSI}}}nil"
PARIS = ZoneInfo("Europe/Paris")

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,7}))?\d*(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_Value = TypeVar("_Value")


class MalformedRequest(Exception):
    """The message could not be deserialized; the service answers with a SOAP fault."""


# --- reading ---------------------------------------------------------------------------------


def parse_request(body: bytes) -> tuple[str, etree._Element]:
    """Operation name and its element in the SOAP body; raises MalformedRequest."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise MalformedRequest(str(error)) from None
    found = root.find(f"{{{SOAP}}}Body")
    if root.tag != f"{{{SOAP}}}Envelope" or found is None or not len(found):
        raise MalformedRequest("not a SOAP 1.1 envelope")
    operation = found[0]
    name = etree.QName(operation)
    if name.namespace != CD:
        raise MalformedRequest(f"unexpected element {name.text}")
    return name.localname, operation


def members(
    parent: etree._Element | None, names: Sequence[str], namespace: str = CD
) -> Mapping[str, etree._Element]:
    """The members a WCF reader would see; nil ones and ones out of order are left out."""
    if parent is None:
        return {}
    seen: dict[str, etree._Element] = {}
    position = 0
    for child in parent.iterchildren("*"):
        name = etree.QName(child)
        if name.namespace != namespace or name.localname not in names[position:]:
            continue
        position = names.index(name.localname, position) + 1
        if child.get(NIL, "false").strip() not in {"true", "1"}:
            seen[name.localname] = child
    return seen


def _read(
    found: Mapping[str, etree._Element], name: str, convert: Callable[[str], _Value]
) -> _Value | None:
    element = found.get(name)
    if element is None:
        return None
    text = (element.text or "").strip()
    try:
        return convert(text)
    except (ValueError, InvalidOperation):
        raise MalformedRequest(f"the value of {name} could not be parsed: {text!r}") from None


def read_text(found: Mapping[str, etree._Element], name: str) -> str | None:
    """A string member, None where nil, absent or out of order."""
    element = found.get(name)
    return None if element is None else element.text or ""


def read_int(found: Mapping[str, etree._Element], name: str) -> int | None:
    """An integer member."""
    return _read(found, name, int)


def read_decimal(found: Mapping[str, etree._Element], name: str) -> Decimal | None:
    """A decimal member, with a point."""
    return _read(found, name, Decimal)


def read_bool(found: Mapping[str, etree._Element], name: str) -> bool:
    """A boolean member, False where it is not there."""
    words = {"true": True, "1": True, "false": False, "0": False}

    def convert(text: str) -> bool:
        if text not in words:
            raise ValueError(text)
        return words[text]

    return bool(_read(found, name, convert))


def read_time(found: Mapping[str, etree._Element], name: str) -> datetime | None:
    """A date-time member, aware, in UTC; without a zone it is Paris local."""
    return _read(found, name, _time)


def read_list(
    found: Mapping[str, etree._Element], name: str, item: str, namespace: str = CD
) -> list[str] | None:
    """The texts of a list member's items; None where the list is nil or absent."""
    parent = found.get(name)
    if parent is None:
        return None
    return [(child.text or "").strip() for child in parent.iterchildren(f"{{{namespace}}}{item}")]


def _time(text: str) -> datetime:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(text)
    moment = datetime.fromisoformat(match[1] + (match[3] or "").replace("Z", "+00:00"))
    moment = moment.replace(microsecond=int((match[2] or "0").ljust(6, "0")[:6]))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=PARIS)
    return moment.astimezone(UTC)


# --- writing ---------------------------------------------------------------------------------


def stamp(moment: datetime | None) -> str | None:
    """`2019-04-23T15:43:26.41`: Paris local, no zone, trailing zeros of the fraction dropped."""
    if moment is None:
        return None
    local = moment.astimezone(PARIS)
    fraction = f"{local.microsecond // 1000:03d}".rstrip("0")
    return local.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "")


def amount(value: Decimal) -> str:
    """`0.18`, `1`, `12.5`: no exponent, no trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def node(parent: etree._Element, name: str, namespace: str = CD) -> etree._Element:
    """A new child to be filled."""
    if namespace == MSG:
        return etree.SubElement(parent, f"{{{namespace}}}{name}", nsmap={None: MSG})
    return etree.SubElement(parent, f"{{{namespace}}}{name}")


def put(
    parent: etree._Element,
    name: str,
    value: str | int | bool | Decimal | datetime | None,
    namespace: str = CD,
) -> etree._Element:
    """A new child with a value; None becomes `i:nil="true"`."""
    child = node(parent, name, namespace)
    match value:
        case None:
            child.set(NIL, "true")
        case bool():
            child.text = "true" if value else "false"
        case Decimal():
            child.text = amount(value)
        case datetime():
            child.text = stamp(value)
        case int():
            child.text = str(value)
        case _:
            # XML 1.0 cannot carry most control characters; line ends are CR LF, as recorded.
            clean = _ILLEGAL.sub("", value).replace("\r\n", "\n").replace("\r", "\n")
            child.text = clean.replace("\n", "\r\n") or None
    return child


def answer(
    operation: str, extra: Mapping[str, str] | None = None
) -> tuple[etree._Element, etree._Element]:
    """Envelope and the empty `<Operation>Result` of an answer; `extra` are its prefixes."""
    envelope = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"s": SOAP})
    body = etree.SubElement(envelope, f"{{{SOAP}}}Body")
    response = etree.SubElement(body, f"{{{CD}}}{operation}Response", nsmap={None: CD})
    result = etree.SubElement(
        response, f"{{{CD}}}{operation}Result", nsmap={**(extra or {}), "i": XSI}
    )
    return envelope, result


def fault(code: str, text: str, language: str = "fr-FR") -> bytes:
    """A SOAP fault; a `code` that starts with `a:` is one of WCF's own."""
    envelope = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"s": SOAP})
    body = etree.SubElement(envelope, f"{{{SOAP}}}Body")
    inner = etree.SubElement(body, f"{{{SOAP}}}Fault")
    etree.SubElement(
        inner, "faultcode", nsmap={"a": WCF} if code.startswith("a:") else {}
    ).text = code
    string = etree.SubElement(inner, "faultstring")
    string.set("{http://www.w3.org/XML/1998/namespace}lang", language)
    string.text = text
    return serialize(envelope)


def serialize(envelope: etree._Element) -> bytes:
    """UTF-8 without declaration, carriage returns written as the service writes them."""
    return etree.tostring(envelope, encoding="utf-8").replace(b"&#13;", b"&#xD;")
