"""A folder of WSDL and XSD documents, served the way WCF serves its own.

`?wsdl` is the service document, `?wsdl=wsdl0` and `?xsd=xsd3` the others. Every address in them
is rewritten to wherever the simulator happens to listen, whether the documents name the real
service or each other's files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lxml import etree

__all__ = ["WsdlFolder"]

_WSDL = "http://schemas.xmlsoap.org/wsdl/"
_QUERY = re.compile(r"[?&](wsdl|xsd)=([\w.-]+)$")
_FILE = re.compile(r"(?:^|/)([\w.-]+)\.(wsdl|xsd)$")


class WsdlFolder:
    """The documents of one contract, read once."""

    def __init__(self, folder: Path, *, prefer: str = "service") -> None:
        """`prefer` is the stem of the service document where a folder has several.

        Raises ValueError if there is no WSDL document with a service in the folder.
        """
        self._documents: dict[tuple[str, str], etree._Element] = {}
        self._main: tuple[str, str] | None = None
        for path in sorted(folder.iterdir()):
            kind = path.suffix[1:]
            if kind not in {"wsdl", "xsd"}:
                continue
            root = etree.fromstring(path.read_bytes())
            self._documents[(kind, path.stem)] = root
            described = kind == "wsdl" and root.find(f"{{{_WSDL}}}service") is not None
            if described and (self._main is None or path.stem == prefer):
                self._main = (kind, path.stem)
        if self._main is None:
            raise ValueError(f"no WSDL document with a service in {folder}")

    def document(self, query: Mapping[str, str], service_url: str) -> bytes | None:
        """The document a query asks for, with addresses rewritten; None if there is none."""
        for kind in ("wsdl", "xsd"):
            if kind in query:
                key = (kind, query[kind]) if query[kind] else self._main
                root = None if key is None else self._documents.get(key)
                return None if root is None else _rewritten(root, service_url)
        return None


def _rewritten(root: etree._Element, service_url: str) -> bytes:
    copy = etree.fromstring(etree.tostring(root))
    for element in copy.iter("{*}*"):
        name = etree.QName(element).localname
        if name == "address" and element.get("location"):
            element.set("location", service_url)
        elif name in {"import", "include"}:
            for attribute in ("location", "schemaLocation"):
                target = element.get(attribute)
                if target is not None:
                    element.set(attribute, _target(target, service_url))
    return etree.tostring(copy, encoding="utf-8", xml_declaration=True)


def _target(target: str, service_url: str) -> str:
    query = _QUERY.search(target)
    if query is not None:
        return f"{service_url}?{query[1]}={query[2]}"
    file = _FILE.search(target)
    return f"{service_url}?{file[2]}={file[1]}" if file is not None else target
