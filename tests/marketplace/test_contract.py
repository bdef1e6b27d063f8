"""Our subset of the WSDL against the recorded one, and requests against recorded requests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from mailbridge.marketplace.cdiscount.envelope import header
from mailbridge.marketplace.cdiscount.wsdl import BUILTIN, BUILTIN_2020, Contract, load
from mailbridge.marketplace.port import ContractError, TransientError
from mailbridge.marketplace.wire import Wire
from tests.marketplace.recorded import needs_recordings, recording
from tests.marketplace.scripted import ScriptedService
from tests.requirements import CONTRACT

XS = "{http://www.w3.org/2001/XMLSchema}"
WSDL = "{http://schemas.xmlsoap.org/wsdl/}"
SOAP = "{http://schemas.xmlsoap.org/wsdl/soap/}"
OURS = Path(str(resources.files("mailbridge.marketplace.cdiscount") / "contract"))
OPERATIONS = {
    "CloseDiscussionList",
    "CreateRefundVoucher",
    "GenerateDiscussionMailGuid",
    "GetDiscussionMailList",
    "GetOfferQuestionList",
    "GetOrderClaimList",
    "GetOrderList",
    "GetOrderQuestionList",
    "ValidateOrderList",
}
# Enumerations of what we send only; all others must be complete.
SHORTENED = {"Country", "Currency", "Language"}

Name = tuple[str, str]


@dataclass(frozen=True)
class Field:
    name: str
    type: Name
    optional: bool
    many: bool
    nillable: bool


@dataclass(frozen=True)
class Shape:
    """A type or an operation's element, without how it was written down."""

    base: Name | None
    fields: tuple[Field, ...]
    values: tuple[str, ...]


def documents(folder: Path, *names: str) -> Iterator[etree._Element]:
    """The schemas in these files."""
    for name in names:
        root = etree.parse(str(folder / name)).getroot()
        yield from [root] if root.tag == XS + "schema" else root.iter(XS + "schema")


def name_of(element: etree._Element, text: str) -> Name:
    prefix, _, local = text.rpartition(":")
    return (element.nsmap.get(prefix or None) or "", local)


def shape(element: etree._Element) -> Shape:
    extension = element.find(f".//{XS}extension")
    return Shape(
        base=None if extension is None else name_of(extension, extension.attrib["base"]),
        fields=tuple(
            Field(
                name=each.attrib["name"],
                type=name_of(each, each.get("type", "")),
                optional=each.get("minOccurs") == "0",
                many=each.get("maxOccurs") == "unbounded",
                nillable=each.get("nillable") == "true",
            )
            for each in element.iter(XS + "element")
            if each is not element
        ),
        values=tuple(value.attrib["value"] for value in element.iter(XS + "enumeration")),
    )


def shapes(schemas: Iterator[etree._Element]) -> dict[tuple[str, Name], Shape]:
    found = {}
    for schema in schemas:
        for each in schema:
            kind = etree.QName(each).localname
            wrapper = kind == "element" and each.get("type") is None
            if wrapper or kind in ("complexType", "simpleType"):
                key = ("element" if wrapper else "type", name_of_top(schema, each))
                found[key] = shape(each)
    return found


def name_of_top(schema: etree._Element, each: etree._Element) -> Name:
    return (schema.attrib["targetNamespace"], each.attrib["name"])


def ours(*, of_2020: bool) -> dict[tuple[str, Name], Shape]:
    new = {"message-2020.xsd", "discussion-list.xsd"}
    names = [p.name for p in OURS.glob("*.xsd")]
    left_out = {"message.xsd"} if of_2020 else new
    return shapes(documents(OURS, *(name for name in names if name not in left_out)))


def is_subsequence(part: tuple[Any, ...], whole: tuple[Any, ...]) -> bool:
    rest = iter(whole)
    return all(each in rest for each in part)


@needs_recordings
def test_every_type_is_the_recorded_one_or_leaves_optional_fields_out() -> None:
    theirs = shapes(documents(CONTRACT, *(p.name for p in CONTRACT.glob("*.xsd"))))
    for (kind, name), mine in ours(of_2020=False).items():
        real = theirs[(kind, name)]
        where = f"{kind} {name}"
        assert mine.base == real.base, where
        assert is_subsequence(mine.fields, real.fields), where
        left_out = set(real.fields) - set(mine.fields)
        if name[1] != "ArrayOfDomainRights":  # always sent nil, so its items are left out
            assert all(each.optional for each in left_out), where
        if name[1] in SHORTENED:
            assert set(mine.values) <= set(real.values), where
        else:
            assert mine.values == real.values, where


def operations(folder: Path, service: str, interface: str) -> dict[str, tuple[Any, ...]]:
    """Name, SOAPAction, style, use and the elements that travel, of each operation."""
    service_root = etree.parse(str(folder / service)).getroot()
    interface_root = etree.parse(str(folder / interface)).getroot()
    parts = {
        each.attrib["name"]: [
            (part.attrib["name"], name_of(part, part.attrib["element"]))
            for part in each.iter(WSDL + "part")
        ]
        for each in interface_root.iter(WSDL + "message")
        if all(part.get("element") for part in each.iter(WSDL + "part"))
    }
    port = next(
        each
        for each in interface_root.iter(WSDL + "portType")
        if each.get("name") == "IMarketplaceAPIService"
    )
    messages = {
        each.attrib["name"]: [
            parts[side.attrib["message"].rpartition(":")[2]]
            for side in each
            if etree.QName(side).localname in ("input", "output")
        ]
        for each in port.iter(WSDL + "operation")
    }
    binding = service_root.find(WSDL + "binding")
    assert binding is not None
    assert name_of(binding, binding.attrib["type"]) == (
        "http://www.cdiscount.com",
        "IMarketplaceAPIService",
    )
    return {
        each.attrib["name"]: (
            [dict(soap.attrib) for soap in each.iter(SOAP + "operation")],
            [dict(soap.attrib) for soap in each.iter(SOAP + "body")],
            messages[each.attrib["name"]],
        )
        for each in binding.iter(WSDL + "operation")
    }


@needs_recordings
def test_every_operation_is_bound_as_recorded() -> None:
    mine = operations(OURS, "service.wsdl", "interface.wsdl")
    theirs = operations(CONTRACT, "service.wsdl", "wsdl0.wsdl")
    assert mine.keys() == OPERATIONS
    assert mine == {name: theirs[name] for name in mine}


def test_2020_differs_by_the_one_list_and_who_wrote_a_message_only() -> None:
    old, new = ours(of_2020=False), ours(of_2020=True)
    changed = {name[1] for (_, name), each in new.items() if old.get((_, name)) != each}
    assert changed == {
        "ArrayOfDiscussion",
        "Discussion",
        "DiscussionFilter",
        "DiscussionListMessage",
        "DiscussionTypeFilter",
        "GetDiscussionList",
        "GetDiscussionListResponse",
        "Message",
        "UserType",
    }
    assert old.keys() < new.keys()
    before = operations(OURS, "service.wsdl", "interface.wsdl")
    after = operations(OURS, "service-2020.wsdl", "interface-2020.wsdl")
    assert after.keys() - before.keys() == {"GetDiscussionList"}
    assert before == {name: after[name] for name in before}


# Loading


async def contract(where: str) -> Contract:
    wire = Wire(timeout=5)
    try:
        return await load(where, wire)
    finally:
        await wire.aclose()


async def test_the_shipped_contract_loads() -> None:
    loaded = await contract(BUILTIN)
    assert loaded.operations == OPERATIONS
    assert not loaded.has_discussion_list


async def test_the_one_list_is_used_where_the_contract_has_it_and_sender_types() -> None:
    loaded = await contract(BUILTIN_2020)
    assert loaded.has_discussion_list
    assert loaded.has_sender_type


@needs_recordings
async def test_the_recorded_contract_loads_from_its_folder() -> None:
    loaded = await contract(str(CONTRACT / "service.wsdl"))
    assert loaded.operations >= OPERATIONS
    assert len(loaded.operations) == 44
    assert not loaded.has_discussion_list


@needs_recordings
async def test_the_recorded_contract_loads_from_a_url_though_its_imports_name_another_host() -> (
    None
):
    files = {"wsdl": (CONTRACT / "service.wsdl").read_bytes()}
    for path in CONTRACT.glob("*.xsd"):
        files[f"xsd={path.stem}"] = path.read_bytes()
    files["wsdl=wsdl0"] = (CONTRACT / "wsdl0.wsdl").read_bytes()
    async with ScriptedService() as service:
        service.serve_wsdl(files)
        market = service.marketplace(wsdl=f"{service.url}/service.svc?wsdl")
        line = await market.check()
        await market.aclose()
    assert "three lists" in line
    assert "127.0.0.1" in line


async def test_an_import_that_is_not_served_is_named_and_may_work_the_next_time() -> None:
    async with ScriptedService() as service:
        service.serve_wsdl({"wsdl": (OURS / "service.wsdl").read_bytes()})
        market = service.marketplace(wsdl=f"{service.url}/service.svc?wsdl")
        for _ in range(2):
            with pytest.raises(ContractError, match=r"interface\.wsdl could not be fetched.*404"):
                await market.check()
        await market.aclose()


async def test_a_wsdl_without_an_operation_says_which(tmp_path: Path) -> None:
    shutil.copytree(OURS, tmp_path, dirs_exist_ok=True)
    wsdl = tmp_path / "service.wsdl"
    text = wsdl.read_text()
    start = text.index('    <wsdl:operation name="CloseDiscussionList">')
    end = text.index("</wsdl:operation>", start) + len("</wsdl:operation>\n")
    wsdl.write_text(text[:start] + text[end:])
    with pytest.raises(ContractError, match=r"service\.wsdl\) lacks CloseDiscussionList"):
        await contract(str(wsdl))


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"gone\.wsdl can't be read"):
        await contract(str(tmp_path / "gone.wsdl"))


@pytest.mark.parametrize(
    "text",
    [
        "not xml",
        '<!DOCTYPE d [<!ENTITY x "y">]><d>&x;</d>',
        "<html/>",
        '<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" targetNamespace="t"/>',
    ],
)
async def test_a_file_that_is_no_wsdl_is_a_contract_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.wsdl"
    path.write_text(text)
    with pytest.raises(ContractError, match="WSDL"):
        await contract(str(path))


async def test_imports_never_leave_the_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.xsd"
    secret.write_text("<schema/>")
    inner = tmp_path / "inner"
    inner.mkdir()
    wsdl = inner / "service.wsdl"
    wsdl.write_text(
        '<definitions xmlns="http://schemas.xmlsoap.org/wsdl/">'
        '<import namespace="x" location="../secret.xsd"/></definitions>'
    )
    with pytest.raises(ContractError, match=r"inner.secret\.xsd can't be read"):
        await contract(str(wsdl))


async def test_a_service_that_is_down_while_the_contract_loads_is_transient() -> None:
    async with ScriptedService() as service:
        url = service.url
    market_url = f"{url}/service.svc?wsdl"
    wire = Wire(timeout=2)
    with pytest.raises(TransientError) as caught:
        await load(market_url, wire)
    await wire.aclose()
    assert not caught.value.sent


# Requests


def parts(name: str) -> dict[str, Any]:
    strings = {
        "get-order-list-by-number": ["ORDER_NUMBER_1", "1904240959CN8HI", "ORDER_NUMBER_2"],
        "get-order-question-list-empty": ["ORDER_NUMBER_1"],
        "token-expired-fault": ["PRES1"],
    }
    line = {
        "AcceptationState": "ShipmentRefusedBySeller",
        "ProductCondition": "AverageState",
        "SellerProductId": "PRES1",
    }
    refused = {
        "OrderLineList": {"ValidateOrderLine": [line]},
        "OrderNumber": "1904240959CN8HI",
        "OrderState": "ShipmentRefusedBySeller",
    }
    known: dict[str, dict[str, Any]] = {
        "close-discussion-list-already-closed": {
            "closeDiscussionRequest": {"DiscussionIds": {"long": [113157784]}}
        },
        "close-discussion-list-not-found": {
            "closeDiscussionRequest": {"DiscussionIds": {"long": [-2, -1]}}
        },
        "create-refund-voucher-invalid": {
            "request": {"CommercialGestureList": {}, "OrderNumber": None, "SellerRefundList": {}}
        },
        "generate-discussion-mail-guid": {"request": {"ScopusId": "1904291413BT4WY"}},
        "generate-discussion-mail-guid-unknown-order": {
            "request": {"ScopusId": "INVALID_ORDER_ID"}
        },
        "get-discussion-mail-list-closed-discussion": {
            "request": {"DiscussionIds": {"long": [113163877]}}
        },
        "get-discussion-mail-list-unknown-discussion": {
            "request": {"DiscussionIds": {"long": [1, 2]}}
        },
        "get-offer-question-list-by-status": {
            "offerQuestionFilter": {"StatusList": {"DiscussionStateFilter": ["Closed"]}}
        },
        "get-order-claim-list": {"orderClaimFilter": {}},
        "get-order-list-by-number": {
            "orderFilter": {
                "FetchOrderLines": True,
                "OrderReferenceList": {"string": strings["get-order-list-by-number"]},
            }
        },
        "get-order-question-list-empty": {
            "orderQuestionFilter": {
                "OrderNumberList": {"string": strings["get-order-question-list-empty"]}
            }
        },
        "token-expired-fault": {
            "offerQuestionFilter": {
                "ProductSellerReferenceList": {"string": strings["token-expired-fault"]}
            }
        },
        "validate-order-list-refused-transition": {
            "validateOrderListMessage": {"OrderList": {"ValidateOrder": [refused]}}
        },
    }
    return known[name]


def plain(element: etree._Element) -> Any:
    """An element without prefixes, attributes of layout, or blanks between elements."""
    nil = element.get("{http://www.w3.org/2001/XMLSchema-instance}nil")
    return (
        element.tag,
        nil,
        (element.text or "").strip() if len(element) == 0 else "",
        [plain(child) for child in element],
    )


LOADED: dict[str, Contract] = {}

RECORDED = (
    sorted(p.name[: -len(".request.xml")] for p in (CONTRACT / "recorded").glob("*.request.xml"))
    if CONTRACT.is_dir()
    else ["get-order-claim-list"]
)


@needs_recordings
@pytest.mark.parametrize("source", ["builtin", "builtin-2020", "recorded"])
@pytest.mark.parametrize("name", RECORDED)
async def test_a_recorded_request_is_built_again(name: str, source: str) -> None:
    body = etree.fromstring(recording(f"{name}.request.xml")).find(
        "{http://schemas.xmlsoap.org/soap/envelope/}Body"
    )
    assert body is not None
    where = str(CONTRACT / "service.wsdl") if source == "recorded" else source
    if where not in LOADED:
        LOADED[where] = await contract(where)
    loaded = LOADED[where]
    operation = str(etree.QName(body[0]).localname)
    head = header("0" * 32, "")
    if name == "get-order-question-list-empty":
        head["Localization"]["Currency"] = "Eur"
    request = loaded.request(operation, headerMessage=head, **parts(name))
    built = etree.fromstring(request.body)
    assert [str(etree.QName(each).localname) for each in built] == ["Body"]
    assert plain(built[0]) == plain(body)
    assert request.action == f'"http://www.cdiscount.com/IMarketplaceAPIService/{operation}"'


async def test_a_request_that_does_not_fit_names_the_operation_and_no_value() -> None:
    loaded = await contract(BUILTIN)
    with pytest.raises(ContractError, match="GetOrderClaimList") as caught:
        loaded.request("GetOrderClaimList", orderClaimFilter={"Nope": "mot de passe"})
    assert "mot de passe" not in str(caught.value)
    with pytest.raises(ContractError, match="lacks GetDiscussionList"):
        loaded.request("GetDiscussionList")
    with pytest.raises(ContractError, match="GenerateDiscussionMailGuid"):
        loaded.request("GenerateDiscussionMailGuid", request={"ScopusId": "nul\0"})


async def test_a_request_does_not_show_the_token_in_its_repr() -> None:
    loaded = await contract(BUILTIN)
    request = loaded.request(
        "GetOrderClaimList", headerMessage=header("f" * 32, "Agence"), orderClaimFilter={}
    )
    assert b"f" * 32 in request.body
    assert b"<ns3:UserName>Agence</ns3:UserName>" in request.body
    assert "f" * 32 not in repr(request)
