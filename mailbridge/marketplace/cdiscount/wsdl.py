"""The contract: a WSDL with its schemas, loaded once, and requests built from it.

The rule: zeep checks every name and its place (WCF reads elements in schema order and silently
drops one that comes too early or too late), and that is all zeep does here. Documents are
collected first, from the package, a folder or the service itself, checked to be plain XML, and
handed to zeep in a thread: loading never holds up the event loop and never reads a URL twice.

Answers are read by `reading`, not by zeep, which turns a bad number or date into None.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit, urlunsplit

import zeep.exceptions
from lxml import etree
from zeep.settings import Settings
from zeep.wsdl import Document
from zeep.wsdl.bindings import Soap11Binding

from mailbridge.marketplace.cdiscount.errors import status_error
from mailbridge.marketplace.port import ContractError, MarketplaceError
from mailbridge.marketplace.wire import Wire, inflate

__all__ = ["BUILTIN", "BUILTIN_2020", "NEEDED", "Contract", "Request", "load"]

BUILTIN = "builtin"
"""The subset shipped with mailbridge, as served in 2019."""
BUILTIN_2020 = "builtin-2020"
"""The same with GetDiscussionList."""

NEEDED = frozenset(
    {
        "CloseDiscussionList",
        "GenerateDiscussionMailGuid",
        "GetDiscussionMailList",
        "GetOfferQuestionList",
        "GetOrderClaimList",
        "GetOrderList",
        "GetOrderQuestionList",
    }
)
"""Operations mailbridge can't do without (the three lists: unless there is the one list)."""

_THREE_LISTS = frozenset({"GetOfferQuestionList", "GetOrderClaimList", "GetOrderQuestionList"})
_ONE_LIST = "GetDiscussionList"
Read = Callable[[str], Awaitable[bytes]]
"""Fetches one document by its absolute URL."""

_NS = "http://www.cdiscount.com"
_DOCUMENTS = 60
_IMPORTS = frozenset(
    {
        "{http://schemas.xmlsoap.org/wsdl/}import",
        "{http://www.w3.org/2001/XMLSchema}import",
        "{http://www.w3.org/2001/XMLSchema}include",
    }
)


@dataclass(frozen=True, slots=True)
class Request:
    """An envelope ready to be posted. Its repr does not show it: it holds the token."""

    operation: str
    action: str
    body: bytes

    def __repr__(self) -> str:
        return f"Request({self.operation}, {len(self.body)} octets)"


class Contract:
    """A loaded WSDL. `source` is where it came from, in words."""

    def __init__(self, document: Document, source: str) -> None:
        self.source = source
        binding = _soap11(document)
        self._operations: dict[str, Any] = dict(binding.all())
        self.operations = frozenset(self._operations)
        self.has_sender_type = _has_element(document, "Message", "SenderType")
        """Whether messages say who wrote them (2020)."""
        self.has_discussion_list = _ONE_LIST in self.operations and self.has_sender_type
        """Whether the one list of 2020 may be used instead of the three."""
        optional = _THREE_LISTS if self.has_discussion_list else frozenset()
        missing = sorted(NEEDED - optional - self.operations)
        if missing:
            raise ContractError(f"the WSDL ({source}) lacks {', '.join(missing)}")

    def request(self, operation: str, /, **parts: Any) -> Request:
        """The envelope of a call; ContractError where the WSDL knows no such element."""
        try:
            message = self._operations[operation].create(**parts)
            body = etree.tostring(message.content, encoding="utf-8", xml_declaration=True)
        except KeyError:
            raise ContractError(f"the WSDL ({self.source}) lacks {operation}") from None
        except (TypeError, ValueError, zeep.exceptions.Error) as error:
            # The error's own words may hold a value; its kind is enough to look it up.
            raise ContractError(
                f"{operation}: the request does not fit the WSDL ({type(error).__name__})"
            ) from None
        return Request(operation, message.headers["SOAPAction"], body)


async def load(where: str, wire: Wire) -> Contract:
    """The contract at `where`: `builtin`, `builtin-2020`, a URL or the path of a file.

    A file's imports are looked for beside it, by the last part of their URL or, for a service's
    `?wsdl=wsdl0` and `?xsd=xsd3`, as `wsdl0.wsdl` and `xsd3.xsd`. Raises ContractError (also
    for a file that can't be read) and TransientError (a URL that does not answer).
    """
    read: Read
    base = "https://contract.invalid/"  # any absolute URL: imports are resolved against it
    match where:
        case "builtin" | "builtin-2020":
            name = "service.wsdl" if where == BUILTIN else "service-2020.wsdl"
            start, read, source = base + name, _shipped, f"shipped with mailbridge, {where}"
        case _ if urlsplit(where).scheme in ("http", "https"):
            start, read, source = where, _fetcher(wire, where), f"of {urlsplit(where).hostname}"
        case _:
            path = Path(where)
            start, read, source = base + path.name, _beside(path.parent), f"in {path.name}"
    documents = await _collect(start, read)
    return await asyncio.to_thread(_build, start, documents, source)


async def _collect(start: str, read: Read) -> dict[str, bytes]:
    """The document at `start` and all it imports, by absolute URL."""
    found: dict[str, bytes] = {}
    ahead = [start]
    while ahead:
        url = ahead.pop()
        if url in found:
            continue
        if len(found) == _DOCUMENTS:
            raise ContractError(f"the WSDL imports more than {_DOCUMENTS} documents")
        found[url] = await read(url)
        ahead += await asyncio.to_thread(_imports, url, found[url])
    return found


def _imports(url: str, content: bytes) -> list[str]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError:
        raise ContractError(f"the WSDL's part {_label(url)} is not well-formed XML") from None
    if root.getroottree().docinfo.doctype:
        raise ContractError(f"the WSDL's part {_label(url)} has a document type declaration")
    places = (
        element.get("schemaLocation") or element.get("location") for element in root.iter(*_IMPORTS)
    )
    return [urljoin(url, place) for place in places if place]


def _label(url: str) -> str:
    return _file_name(url) or "(start)"


def _file_name(url: str) -> str:
    """The name of the file that stands for a URL in a folder."""
    parts = urlsplit(url)
    for kind in ("wsdl", "xsd"):
        named = parse_qs(parts.query).get(kind)
        if named:
            return f"{PurePosixPath(named[0]).name}.{kind}"
    if parts.query.lower() in ("wsdl", "singlewsdl"):
        return "service.wsdl"
    return PurePosixPath(parts.path).name


async def _shipped(url: str) -> bytes:
    folder = resources.files("mailbridge.marketplace.cdiscount") / "contract"
    return await asyncio.to_thread((folder / _file_name(url)).read_bytes)


def _beside(folder: Path) -> Read:
    async def read(url: str) -> bytes:
        path = folder / _file_name(url)
        try:
            return await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise ContractError(f"the WSDL file {path} can't be read: {error.strerror}") from None

    return read


def _fetcher(wire: Wire, start: str) -> Read:
    async def read(url: str) -> bytes:
        answer = await wire.get(_anchored(url, start))
        if answer.status != 200 or answer.content_type == "text/html":
            raise _unreachable(url, status_error(answer.status, answer.retry_after))
        return await asyncio.to_thread(inflate, answer.body, answer.encoding, wire.size_limit)

    return read


def _anchored(url: str, start: str) -> str:
    """The URL to fetch for an import: always at the host that the operator configured.

    A .NET service behind a balancer or a copy of its WSDL names another host in its imports.
    """
    wanted, home = urlsplit(url), urlsplit(start)
    query = parse_qs(wanted.query)
    path = home.path if "wsdl" in query or "xsd" in query else wanted.path
    return urlunsplit((home.scheme, home.netloc, path, wanted.query, ""))


def _unreachable(url: str, error: MarketplaceError) -> MarketplaceError:
    error.args = (f"the WSDL's part {_label(url)} could not be fetched: {error}",)
    return error


class _Shelf:
    """What zeep calls a transport: gives out documents that are already here."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        self._documents = documents

    def load(self, url: str) -> bytes:
        return self._documents[url]


def _build(start: str, documents: Mapping[str, bytes], source: str) -> Contract:
    settings = Settings(strict=True, forbid_dtd=True)
    try:
        shelf: Any = _Shelf(documents)
        document = Document(start, shelf, settings=settings)
    except (zeep.exceptions.Error, etree.LxmlError, LookupError, ValueError, TypeError) as error:
        raise ContractError(f"the WSDL ({source}) can't be used: {type(error).__name__}") from error
    return Contract(document, source)


def _soap11(document: Document) -> Any:
    for binding in document.bindings.values():
        if isinstance(binding, Soap11Binding):
            return binding
    raise ContractError("the WSDL has no SOAP 1.1 binding")


def _has_element(document: Document, type_name: str, element: str) -> bool:
    try:
        types: Any = document.types
        kind = types.get_type(f"{{{_NS}}}{type_name}")
    except LookupError:
        return False
    return any(name == element for name, _ in kind.elements)
