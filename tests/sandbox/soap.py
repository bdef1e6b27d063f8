"""A client that speaks to the simulator in bare XML, so that nothing stands between."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from lxml import etree

from mailbridge.sandbox.cdiscount import CdiscountSimulator
from tests.requirements import CONTRACT

REALM = "https://wsvc.cdiscount.com/MarketplaceAPIService.svc"
CD = "http://www.cdiscount.com"
MSG = "http://schemas.datacontract.org/2004/07/Cdiscount.Framework.Core.Communication.Messages"
ARRAYS = "http://schemas.microsoft.com/2003/10/Serialization/Arrays"


def tiny_contract(folder: Path) -> Path:
    """The least a WSDL folder must hold."""
    (folder / "service.wsdl").write_text(
        '<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/">'
        '<wsdl:import namespace="http://www.cdiscount.com" location="interface.wsdl"/>'
        '<wsdl:service name="S"><wsdl:port name="P" binding="B"><soap:address '
        'xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" location="https://real.example/S.svc"/>'
        "</wsdl:port></wsdl:service></wsdl:definitions>"
    )
    return folder


class Answer:
    """An answer, with short ways to what a test asks."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.body = response.content

    @property
    def root(self) -> etree._Element:
        return etree.fromstring(self.body)

    def all(self, name: str) -> list[str | None]:
        """Texts of every element of this name; None where it is nil."""
        nil = "{http://www.w3.org/2001/XMLSchema-instance}nil"
        return [
            None if found.get(nil) else found.text or "" for found in self.root.iter(f"{{*}}{name}")
        ]

    def one(self, name: str) -> str | None:
        (text,) = self.all(name)
        return text


class Soap:
    """Signs in when first needed."""

    def __init__(self, market: CdiscountSimulator, http: httpx.AsyncClient) -> None:
        self.market = market
        self.http = http
        self.token = ""

    async def sign_in(self) -> str:
        response = await self.http.get(
            self.market.token_url,
            params={"realm": REALM},
            auth=(self.market.login, self.market.password),
        )
        assert response.status_code == 200, response.text
        self.token = etree.fromstring(response.content).text or ""
        return self.token

    async def call(self, operation: str, parameter: str = "") -> Answer:
        """Call with the parameter element given as XML (prefixes c, m, a)."""
        if not self.token:
            await self.sign_in()
        return await self.post(
            operation,
            f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:c="{CD}" '
            f'xmlns:m="{MSG}" xmlns:a="{ARRAYS}"><s:Body><c:{operation}><c:headerMessage>'
            "<m:Context><m:CatalogID>1</m:CatalogID><m:SiteID>100</m:SiteID></m:Context>"
            f"<m:Security><m:TokenId>{self.token}</m:TokenId></m:Security>"
            f"<m:Version>1.0</m:Version></c:headerMessage>{parameter}"
            f"</c:{operation}></s:Body></s:Envelope>",
        )

    async def replay(self, name: str) -> Answer:
        """Send a recorded request with a token of ours."""
        if not self.token:
            await self.sign_in()
        text = (CONTRACT / "recorded" / f"{name}.request.xml").read_text()
        found = re.search(r"IMarketplaceAPIService/(\w+)<", text)
        assert found is not None
        return await self.post(found[1], text.replace("0" * 32, self.token))

    async def post(self, operation: str, envelope: str) -> Answer:
        response = await self.http.post(
            self.market.service_url,
            content=envelope.encode(),
            headers={
                "Content-Type": "text/xml; charset=utf-8",
                "SOAPAction": f'"http://www.cdiscount.com/IMarketplaceAPIService/{operation}"',
            },
        )
        return Answer(response)

    async def close(self, *idents: int) -> list[str | None]:
        ids = "".join(f"<a:long>{ident}</a:long>" for ident in idents)
        answer = await self.call(
            "CloseDiscussionList",
            "<c:closeDiscussionRequest><c:DiscussionIds>"
            f"{ids}</c:DiscussionIds></c:closeDiscussionRequest>",
        )
        assert answer.one("OperationSuccess") == "true"
        return answer.all("OperationStatus")

    async def relay(self, ident: int) -> tuple[str | None, str | None]:
        answer = await self.call(
            "GetDiscussionMailList",
            f"<c:request><c:DiscussionIds><a:long>{ident}</a:long></c:DiscussionIds></c:request>",
        )
        return answer.one("OperationStatus"), answer.one("MailAddress")


def shape(xml: bytes) -> list[tuple[str, str]]:
    """Every element in document order with its text; a nil one says so."""
    nil = "{http://www.w3.org/2001/XMLSchema-instance}nil"
    return [
        (str(element.tag), "nil" if element.get(nil) == "true" else (element.text or ""))
        for element in etree.fromstring(xml).iter()
    ]
