"""Discussions: found page by page, read one by one, and mapped without losing a word."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailbridge.domain.discussion import (
    AuthorKind,
    Discussion,
    DiscussionKind,
    MessageFile,
    Status,
    Treatment,
)
from mailbridge.marketplace.octopia.bodies import plain
from mailbridge.marketplace.octopia.listing import windows
from mailbridge.marketplace.port import (
    UNNAMED,
    ContractError,
    Listing,
    NotAuthorizedError,
    RefusedError,
    TransientError,
    Window,
)
from tests.marketplace.octopia.scripted import (
    API,
    IDENT,
    NUMBER,
    Reply,
    ScriptedApi,
    html,
    order,
    page,
    problem,
    said,
    talk,
)

OTHER = "752e92fc3b6ff8977effe472"


def window(api: ScriptedApi, back: timedelta = timedelta(hours=3), **options: Any) -> Window:
    return Window(api.now - back, api.now, **options)


def sample(ident: str) -> Discussion:
    """A discussion as the journal knows it."""
    return Discussion(
        id=ident,
        reference=NUMBER,
        kind=DiscussionKind.CLAIM,
        status=Status.OPEN,
        created_at=datetime(2023, 10, 17, tzinfo=UTC),
    )


async def one(api: ScriptedApi, told: dict[str, Any], **options: Any) -> Discussion:
    """This discussion as the adapter hands it over."""
    api.shows(told)
    found = await api.marketplace(**options).discussions(window(api, timedelta(days=900)))
    assert not found.faults
    return found.discussions[0]


# Mapping


async def test_the_sample_of_the_service_own_pages(api: ScriptedApi) -> None:
    found = await one(api, talk(said("Bonjour,\nje déménage.")))
    assert (found.id, found.reference) == (IDENT, NUMBER)
    assert (found.kind, found.status) == (DiscussionKind.ORDER_QUESTION, Status.OPEN)
    assert found.order_number == "2310171354KBDRE"
    assert found.sales_channel == "CDISFR"
    assert found.topic == "Changement d'adresse de livraison"
    assert (found.escalation, found.raw_status, found.claim_type) == ("", "", None)
    created = datetime(2023, 10, 17, 13, 58, 1, 413_000, UTC)
    assert found.created_at == created
    assert found.updated_at == created - timedelta(milliseconds=93)  # as it came
    [message] = found.messages
    assert (message.ident, message.raw_time) == ("m1", "2023-10-17T13:58:01.413Z")
    assert (message.sent_at, message.seen) == (created, False)
    assert message.text == "Bonjour,\nje déménage."


@pytest.mark.parametrize(
    ("fields", "kind", "escalation"),
    [
        ({"graduation": "Claim"}, DiscussionKind.CLAIM, "Claim"),
        ({"graduation": "claim", "typologyCode": "Offer"}, DiscussionKind.CLAIM, "claim"),
        ({"graduation": "Level_1"}, DiscussionKind.ORDER_QUESTION, "Level_1"),
        ({"graduation": "Galaxy"}, DiscussionKind.ORDER_QUESTION, "Galaxy"),
        ({"graduation": None}, DiscussionKind.ORDER_QUESTION, ""),
        ({"typologyCode": "offer"}, DiscussionKind.OFFER_QUESTION, ""),
        ({"typologyCode": "New", "orderSellerId": None}, DiscussionKind.ORDER_QUESTION, ""),
        (
            {"typologyCode": None, "orderSellerId": "", "orderReference": None, "offerId": "7"},
            DiscussionKind.OFFER_QUESTION,
            "",
        ),
    ],
)
async def test_kind_and_escalation(
    api: ScriptedApi, fields: dict[str, Any], kind: DiscussionKind, escalation: str
) -> None:
    found = await one(api, talk(**fields))
    assert (found.kind, found.escalation) == (kind, escalation)


@pytest.mark.parametrize(
    ("status", "treatment"),
    [
        ("ToTreat", Treatment.TO_TREAT),
        ("treated ", Treatment.TREATED),
        ("InTreatment", None),
        (None, None),
        (1, None),
    ],
)
async def test_whether_it_is_treated(
    api: ScriptedApi, status: object, treatment: Treatment | None
) -> None:
    assert (await one(api, talk(said("?"), status=status))).treatment is treatment


async def test_what_the_whole_says_of_its_treatment_is_newer_than_the_list(
    api: ScriptedApi,
) -> None:
    api.shows(talk(said("?"), status="ToTreat"), listed={"status": "Treated"})
    found = await api.marketplace().discussions(window(api, timedelta(days=900)))
    assert found.discussions[0].treatment is Treatment.TO_TREAT
    silent = talk(said("?"))
    del silent["status"]
    api.shows(silent, listed={"status": "Treated"})
    found = await api.marketplace().discussions(window(api, timedelta(days=900)))
    assert found.discussions[0].treatment is Treatment.TREATED


@pytest.mark.parametrize(
    ("sender", "kind", "name"),
    [
        ({"userType": "Customer"}, AuthorKind.CUSTOMER, ""),
        ({"userType": "SELLER"}, AuthorKind.SELLER, ""),
        ({"userType": "GrcOperator"}, AuthorKind.OPERATOR, ""),
        ({"userType": "Automatic"}, AuthorKind.AUTOMATIC, ""),
        ({"userType": "Robot", "userId": "98979"}, AuthorKind.SELLER, "Robot"),
        ({"userType": "Buyer", "userId": "0000000403YZ"}, AuthorKind.CUSTOMER, "Buyer"),
        ({"userType": "Neighbour\r\nX: y"}, AuthorKind.CUSTOMER, "Neighbour X: y"),
        ({"userType": None}, AuthorKind.AUTOMATIC, ""),
        (None, AuthorKind.AUTOMATIC, ""),
        ("Customer", AuthorKind.AUTOMATIC, ""),
    ],
)
async def test_who_wrote(api: ScriptedApi, sender: Any, kind: AuthorKind, name: str) -> None:
    [message] = (await one(api, talk(said("?", sender=sender)))).messages
    assert (message.author.kind, message.author.name) == (kind, name)


async def test_messages_stand_in_order_of_time_then_as_sent(api: ScriptedApi) -> None:
    late = said("3", "c", createdAt="2023-10-17T14:00:00.1234567Z")
    twins = [said("1", "a"), said("2", "b")]
    found = await one(api, talk(late, *twins, isOpen=False))
    assert [message.text for message in found.messages] == ["1", "2", "3"]
    assert found.status is Status.CLOSED
    assert found.closed_at == found.updated_at


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Bonjour, 5 € & <3 a < b > c", "Bonjour, 5 € & <3 a < b > c"),
        ("<p>Bonjour,</p><p>o&ugrave;<br/>est-il&nbsp;?</p>", "Bonjour,\n\noù\nest-il\u00a0?"),
        ("L&#39;article\r\nest cass&eacute;", "L'article\nest cassé"),
        ("ligne 1\nligne <b>2</b>", "ligne 1\nligne 2"),
        ("<blockquote>Vous avez dit</blockquote>Non", "Vous avez dit\nNon"),
        ("<div>-- <br>Zoé</div>", "--\nZoé"),
        ("<div>" * 400 + "au fond" + "</div>" * 400, "au fond"),
        ("<b>" * 9_000 + "gras", "gras"),
        ("<script>alert(1)</script><p>Bonjour</p>", "Bonjour"),
        ("demi \ud83d caractère", "demi \ufffd caractère"),
        (None, ""),
        (12, "12"),
        ({"text": "x"}, ""),
    ],
)
async def test_bodies_become_text(api: ScriptedApi, body: Any, text: str) -> None:
    [message] = (await one(api, talk(said("", body=body)))).messages
    assert message.text.strip() == text


async def test_unknown_fields_and_words_hide_nothing(api: ScriptedApi) -> None:
    strange = said("?", files=[{"a": 1}], mood="angry", hasRead="true")
    found = await one(
        api, talk(strange, isOpen="perhaps", status="Parked", subject=None, extra={"deep": [1]})
    )
    assert (found.status, found.raw_status, found.subject) == (Status.UNKNOWN, "Parked", "")
    assert found.messages[0].seen


async def test_without_a_number_of_the_channel_the_id_is_the_reference(api: ScriptedApi) -> None:
    assert (await one(api, talk(salesChannelExternalReference=None))).reference == IDENT


@pytest.mark.parametrize(
    ("channel", "reference"), [("CDISFR", NUMBER), ("CDISPRO", NUMBER), (None, NUMBER)]
)
async def test_the_number_is_cdiscounts_own(
    api: ScriptedApi, channel: str | None, reference: str
) -> None:
    assert (await one(api, talk(salesChannel=channel))).reference == reference


async def test_another_channels_numbers_may_be_the_same_ones(api: ScriptedApi) -> None:
    assert (await one(api, talk(salesChannel="ALLTRICKS"))).reference == IDENT


async def test_the_service_names_topics_and_ours_stand_in(api: ScriptedApi) -> None:
    labels = page(
        {"subTypologyCode": "newTopic", "label": "Un nouveau sujet"},
        {"subTypologyCode": "printReceipt", "label": " "},
        {"label": "without a code"},
    )
    api.on("GET", "/typologies", labels)
    assert (await one(api, talk(subTypologyCode="newTopic"))).topic == "Un nouveau sujet"
    assert (await one(api, talk(subTypologyCode="printReceipt"))).topic == "Demande de facture"
    api.on("GET", "/typologies", html(502))
    assert (await one(api, talk(subTypologyCode="newTopic"))).topic == "newTopic"


async def test_topics_of_offers_are_asked_for_by_themselves(api: ScriptedApi) -> None:
    """A list without a typology has those about orders only; a service may refuse the other."""
    api.shows(talk(subTypologyCode="size"))
    api.on(
        "GET",
        "/typologies",
        page({"subTypologyCode": "size", "label": "Taille"}),
        problem(400, errors={"typologyCode": ["unknown"]}),
    )
    market = api.marketplace()
    for _ in range(2):
        found = await market.discussions(window(api, timedelta(days=900)))
        assert [discussion.topic for discussion in found.discussions] == ["Taille"]
        api.now += timedelta(hours=2)
    asked = [call.url.params["typologyCode"] for call in api.asked("GET", "/typologies")]
    assert asked == ["Order", "Offer"]


async def test_topics_are_asked_for_once_a_day(api: ScriptedApi) -> None:
    api.shows(talk())
    market = api.marketplace()
    for hours, asked in ((0, 2), (1, 2), (23, 4)):
        api.now += timedelta(hours=hours)
        await market.discussions(window(api))
        assert len(api.asked("GET", "/typologies")) == asked


# Faults


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"createdAt": "yesterday"}, "createdAt: not a date"),
        ({"createdAt": None}, "createdAt: not a date"),
        ({"createdAt": "9999-12-31T23:59:59Z"}, "not a date of our time"),
        ({"messages": [said("?", messageId=None)]}, "messages.0.messageId: missing"),
        ({"messages": [said("?", createdAt="")]}, "messages.0.createdAt: not a date"),
        ({"messages": ["text"]}, "messages.0"),
        ({"messages": "none"}, "messages: not a list"),
    ],
)
async def test_one_broken_discussion_is_a_fault_and_hides_no_other(
    api: ScriptedApi, broken: dict[str, Any], words: str
) -> None:
    api.shows(talk(said("secret words"), **broken), talk(discussionId=OTHER))
    found = await api.marketplace().discussions(window(api))
    assert [each.id for each in found.discussions] == [OTHER]
    assert list(found.faults) == [IDENT]
    assert words in found.faults[IDENT]
    assert "secret words" not in found.faults[IDENT]


async def test_what_is_listed_without_an_id_is_a_fault_of_its_own(api: ScriptedApi) -> None:
    api.shows(talk(discussionId=OTHER))
    listed = page({"subject": "?"}, 7, talk(discussionId=OTHER))
    api.on("GET", "/discussions", listed)
    found = await api.marketplace().discussions(window(api))
    assert [each.id for each in found.discussions] == [OTHER]
    assert list(found.faults) == [UNNAMED]  # and the list has been seen
    assert found.faults[UNNAMED].startswith("a listed discussion: ")


async def test_one_that_always_fails_is_a_fault_of_its_own(api: ScriptedApi) -> None:
    api.shows(talk(), talk(discussionId=OTHER))
    api.on("GET", f"/discussions/{IDENT}", problem(500))
    found = await api.marketplace().discussions(window(api))
    assert [each.id for each in found.discussions] == [OTHER]
    assert "HTTP 500" in found.faults[IDENT]
    assert len(api.asked("GET", f"/discussions/{IDENT}")) == 3


async def test_when_many_fail_the_service_fails(api: ScriptedApi) -> None:
    talks = [talk(discussionId=f"{n:024x}") for n in range(40)]
    api.shows(*talks)
    for told in talks[:30]:
        api.on("GET", f"/discussions/{told['discussionId']}", problem(503))
    with pytest.raises(TransientError):
        await api.marketplace().discussions(window(api))
    assert len(api.calls) < 60


async def test_a_few_that_always_fail_do_not_stop_a_long_list_for_ever(api: ScriptedApi) -> None:
    talks = [talk(discussionId=f"{n:024x}") for n in range(60)]
    api.shows(*talks)
    for told in talks[::8]:
        api.on("GET", f"/discussions/{told['discussionId']}", problem(500))
    found = await api.marketplace().discussions(window(api))
    assert len(found.discussions) == 52
    assert len(found.faults) == 8


async def test_a_right_that_is_missing_for_one_hides_no_other(api: ScriptedApi) -> None:
    """Of a channel that was not delegated, for one."""
    api.shows(talk(), talk(discussionId=OTHER))
    api.on("GET", f"/discussions/{IDENT}", problem(403))
    found = await api.marketplace().discussions(window(api))
    assert [each.id for each in found.discussions] == [OTHER]
    assert "HTTP 403" in found.faults[IDENT]
    api.on("GET", f"/discussions/{OTHER}", problem(403))
    with pytest.raises(NotAuthorizedError):
        await api.marketplace().discussions(window(api))


async def test_a_limit_met_on_the_way_is_waited_out_and_nothing_read_twice(
    api: ScriptedApi,
) -> None:
    """Begun anew each time, a long list would never be read to its end."""
    talks = [talk(discussionId=f"{n:024x}") for n in range(30)]
    api.shows(*talks)
    slow = Reply({"title": "Too Many Requests"}, 429, {"Retry-After": "60"})
    for told in talks[10:20]:
        api.on("GET", f"/discussions/{told['discussionId']}", slow, told)
    found = await api.marketplace().discussions(window(api))
    assert len(found.discussions) == 30
    assert api.pauses == [60.0] * 10
    # The list, each one, again, and the topics of orders and of offers.
    assert len(api.calls) == 1 + 30 + 10 + 2


async def test_but_not_for_ever(api: ScriptedApi) -> None:
    talks = [talk(discussionId=f"{n:024x}") for n in range(30)]
    api.shows(*talks)
    for told in talks:
        slow = Reply(None, 429, {"Retry-After": "100"})
        api.on("GET", f"/discussions/{told['discussionId']}", slow)
    with pytest.raises(TransientError) as caught:
        await api.marketplace().discussions(window(api))
    assert caught.value.retry_after == 100
    assert sum(api.pauses) / 6 <= 1800


async def test_ids_of_another_numbering_stop_no_other(api: ScriptedApi) -> None:
    """A service may stumble over them: 500 instead of 404."""
    api.on("GET", f"/discussions/{IDENT}", talk())
    old = [str(number) for number in range(288598170, 288598180)]
    for number in old:
        api.on("GET", f"/discussions/{number}", problem(500))
    again = await api.marketplace().read_again([sample(ident) for ident in (*old, IDENT)])
    assert [each.id for each in again.discussions] == [IDENT]
    assert set(again.faults) == set(old)
    alone = await api.marketplace().read_again([sample(ident) for ident in old])
    assert (alone.discussions, set(alone.faults)) == ((), set(old))


async def test_one_whose_channel_is_not_said_is_no_other_channels(api: ScriptedApi) -> None:
    found = await one(api, talk(said("?"), salesChannel=None), sales_channels=["CDISFR"])
    assert found.messages[0].text == "?"


async def test_listed_and_gone_is_said(api: ScriptedApi) -> None:
    api.shows(talk())
    api.on("GET", f"/discussions/{IDENT}", problem(404))
    found = await api.marketplace().discussions(window(api))
    assert found == Listing((), {IDENT: "is listed, but not found"})


# Finding them


async def test_the_list_is_asked_with_dates_around_the_window(api: ScriptedApi) -> None:
    await api.marketplace().discussions(window(api, statuses=frozenset({Status.OPEN})))
    [call] = api.asked("GET", "/discussions")
    assert dict(call.url.params) == {
        "updatedAtMin": "2023-10-17T10:59:00Z",
        "updatedAtMax": "2023-10-17T14:01:01Z",
        "isOpen": "true",
        "pageSize": "50",
        "pageIndex": "1",
    }


def test_a_long_time_is_searched_half_year_by_half_year() -> None:
    begin = datetime(2021, 1, 1, tzinfo=UTC)
    end = begin + timedelta(days=1000)
    found = [
        [datetime.fromisoformat(time) for time in (one["updatedAtMin"], one["updatedAtMax"])]
        for one in windows(begin, end)
    ]
    assert found[0][0] < begin
    assert found[-1][1] > end
    assert all(high - low < timedelta(days=180) for low, high in found)
    assert all(after[0] <= before[1] for before, after in itertools.pairwise(found))


async def test_next_links_are_followed_and_only_their_query_is_taken(api: ScriptedApi) -> None:
    ids = [f"{n:024x}" for n in range(3)]
    talks = [talk(discussionId=ident) for ident in ids]
    api.shows(*talks)
    elsewhere = "http://internal.evil.example:8080/discussions?pageIndex={}&pageSize=1"
    api.on(
        "GET",
        "/discussions",
        page(talks[0], next_=elsewhere.format(2)),
        page(talks[1], next_=elsewhere.format(3)),
        page(talks[2], talks[0]),  # pages shift when something changes meanwhile
    )
    found = await api.marketplace().discussions(window(api))
    assert sorted(each.id for each in found.discussions) == ids
    calls = api.asked("GET", "/discussions")
    assert [call.url.params["pageIndex"] for call in calls] == ["1", "2", "3"]
    assert {call.url.host for call in api.calls} == {"api.octopia.test"}
    assert {call.url.params["updatedAtMin"] for call in calls} == {"2023-10-17T10:59:00Z"}


async def test_without_links_a_short_page_is_the_last(api: ScriptedApi) -> None:
    talks = [talk(discussionId=f"{n:024x}") for n in range(70)]
    api.shows(*talks)
    api.on("GET", "/discussions", page(*talks[:50]), page(*talks[50:]))
    assert len((await api.marketplace().discussions(window(api))).discussions) == 70
    assert len(api.asked("GET", "/discussions")) == 2


async def test_a_service_with_smaller_pages_is_believed(api: ScriptedApi) -> None:
    talks = [talk(discussionId=f"{n:024x}") for n in range(30)]
    api.shows(*talks)
    api.on("GET", "/discussions", page(*talks[:25], size=25), page(*talks[25:], size=25))
    assert len((await api.marketplace().discussions(window(api))).discussions) == 30


async def test_a_service_that_knows_no_pages_is_not_asked_for_ever(api: ScriptedApi) -> None:
    talks = [talk(discussionId=f"{n:024x}") for n in range(50)]
    api.shows(*talks)
    assert len((await api.marketplace().discussions(window(api))).discussions) == 50
    assert len(api.asked("GET", "/discussions")) == 2


async def test_pages_in_a_circle_are_a_broken_contract(api: ScriptedApi) -> None:
    api.shows(talk())
    api.on("GET", "/discussions", page(talk(), next_=f"{API}/discussions?pageIndex=1"))
    with pytest.raises(ContractError, match="circle"):
        await api.marketplace().discussions(window(api))


async def test_other_sales_channels_are_left_out_where_some_are_named(api: ScriptedApi) -> None:
    api.shows(talk(), talk(discussionId=OTHER, salesChannel="ALLTRICKS"))
    market = api.marketplace(sales_channels=("cdisfr",))
    found = await market.discussions(window(api))
    assert [each.id for each in found.discussions] == [IDENT]
    assert api.asked("GET", f"/discussions/{OTHER}") == []
    assert api.asked("GET", "/discussions")[0].url.params["salesChannel"] == "cdisfr"


async def test_discussions_of_an_order_are_looked_for_since_it_was_made(api: ScriptedApi) -> None:
    made = (api.now - timedelta(days=400)).strftime("%Y-%m-%dT%H:%M:%SZ")
    api.on("GET", "/orders/A/B", order(number="A/B", createdAt=made))
    api.shows(talk())
    found = await api.marketplace().discussions_of_orders(["A/B"])
    assert [each.id for each in found.discussions] == [IDENT]
    assert [call.url.raw_path for call in api.calls[:1]] == [b"/seller/v2/orders/A%2FB"]
    queries = [call.url.params for call in api.asked("GET", "/discussions")]
    assert [query["orderSellerId"] for query in queries] == ["A/B"] * 3


async def test_known_ones_are_read_again_by_their_ids(api: ScriptedApi) -> None:
    api.shows(talk(said("?")))
    api.on("GET", "/discussions/288598169", problem(400, "The value is not valid"))
    known = [
        Discussion(ident, ident, DiscussionKind.CLAIM, Status.OPEN, api.now)
        for ident in (IDENT, OTHER, "288598169")
    ]
    found = await api.marketplace().read_again(known)
    assert ([each.id for each in found.discussions], found.faults) == ([IDENT], {})
    assert api.asked("GET", "/discussions") == []


# Files


@pytest.mark.parametrize("opener", ["<style>", "<!-- ", "<p><script>"])
def test_words_that_begin_what_never_ends_take_no_time(opener: str) -> None:
    """A customer's page-long markup once took minutes, and the sweep with it."""
    begun = time.perf_counter()
    assert plain("Bonjour <p>" + opener * 40_000 + " Merci").endswith("Merci")
    assert time.perf_counter() - begun < 5


async def test_files_that_a_message_names(api: ScriptedApi) -> None:
    named = [{"attachmentName": "photo", "fileFormat": "JPG"}, {"name": "../a\\b.pdf"}, 7]
    [message] = (await one(api, talk(said("?", attachments=named)))).messages
    assert message.files == (MessageFile("photo.jpg", "0"), MessageFile("-a-b.pdf", "1"))
    assert api.asked("GET", "/attachments") == []


async def test_where_a_message_does_not_say_it_is_asked_for_once(api: ScriptedApi) -> None:
    api.shows(talk(said("?", attachments=None), said("!", "m2", "Seller", attachments=None)))
    api.on("GET", "/attachments", page({"attachmentName": "photo", "fileFormat": "png"}))
    market = api.marketplace()
    for _ in range(2):
        [discussion] = (await market.discussions(window(api))).discussions
        assert [message.files for message in discussion.messages] == [
            (MessageFile("photo.png", "0"),),
            (),
        ]
    [call] = api.asked("GET", "/attachments")
    assert call.url.params["messageId"] == "m1"
    assert call.url.params["salesChannelExternalReference"] == NUMBER


async def test_while_files_can_not_be_asked_for_there_may_be_one(api: ScriptedApi) -> None:
    """The customer's words do not wait; the file is asked for again when they are filed."""
    api.shows(talk(said("?", attachments=None)))
    api.on("GET", "/attachments", problem(503), problem(503), problem(503), page())
    market = api.marketplace()
    for files in ((MessageFile("", "0"),), ()):
        found = await market.discussions(window(api))
        assert not found.faults
        assert [m.files for d in found.discussions for m in d.messages] == [files]


@pytest.mark.parametrize(
    ("answer", "files"),
    [
        (problem(404), ()),
        (problem(403), (MessageFile("", "0"),)),
        (problem(400, "Bad Request"), (MessageFile("", "0"),)),
        (Reply({"items": [], "pad": "x" * 70_000}), (MessageFile("", "0"),)),
        (page({"attachmentName": None, "fileFormat": None}), (MessageFile("fichier", "0"),)),
    ],
)
async def test_files_that_can_not_be_asked_for_are_not_called_none(
    api: ScriptedApi, answer: Reply, files: tuple[MessageFile, ...]
) -> None:
    """The thread then says where a photo may be seen; and no word of anybody waits for it."""
    api.shows(talk(said("?", attachments=None)), talk(discussionId=OTHER))
    api.on("GET", "/attachments", answer)
    market = api.marketplace(size_limit=60_000)
    for _ in range(2):
        found = await market.discussions(window(api))
        assert not found.faults
        assert found.discussions[0].messages[0].files == files
    assert len(api.asked("GET", "/attachments")) == 1


async def test_files_are_fetched_with_their_contents(api: ScriptedApi) -> None:
    api.shows(talk(said("?")))
    api.on(
        "GET",
        "/attachments",
        page({"attachmentName": "a", "fileFormat": "png", "content": "iVBO\nRw=="}),
    )
    [file] = await api.marketplace().messaging.files(IDENT, "m1")
    assert (file.name, file.content_type, file.data) == ("a.png", "image/png", b"\x89PNG")
    api.on("GET", "/attachments", page({"attachmentName": "a", "content": "no base64!"}))
    with pytest.raises(ContractError, match="a is not base64"):
        await api.marketplace().messaging.files(IDENT, "m1")


# Hostile answers


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (html(), TransientError),
        (html(404), ContractError),
        (html(403), TransientError),
        (Reply(raw=b"{"), ContractError),
        (Reply(raw=b"\xff\xfe"), ContractError),
        (Reply(raw=b"[" * 200_000), ContractError),
        (Reply(raw=b'{"items": [' + b"9" * 5000 + b"]}"), ContractError),
        (Reply(raw=b'{"items": [NaN]}'), ContractError),
        (Reply(raw=b""), ContractError),
        (Reply({"items": {}}), ContractError),
        (Reply({"items": "none"}), ContractError),
        (Reply("items"), ContractError),
        (Reply({"items": [], "pad": "x" * 70_000}), ContractError),
        (Reply({}, 200, {"Content-Encoding": "br"}), ContractError),
    ],
)
async def test_an_answer_that_is_none(
    api: ScriptedApi, reply: Reply, kind: type[Exception]
) -> None:
    api.on("GET", "/discussions", reply)
    with pytest.raises(kind):
        await api.marketplace(size_limit=60_000).discussions(window(api))


@pytest.mark.parametrize("link", ['<https://api.octopia.test/v3>; rel="successor-version"', "<>"])
async def test_a_link_that_speaks_of_no_page_ends_no_list(api: ScriptedApi, link: str) -> None:
    """Gateways add links of their own, of a deprecation for one (RFC 9745)."""
    talks = [talk(discussionId=f"{n:024x}") for n in range(60)]
    api.shows(*talks)
    first, second = page(*talks[:50]), page(*talks[50:])
    for reply in (first, second):
        reply.headers["Link"] = link
    api.on("GET", "/discussions", first, second)
    assert len((await api.marketplace().discussions(window(api))).discussions) == 60


async def test_an_empty_page_is_the_last_whatever_it_names(api: ScriptedApi) -> None:
    api.shows(talk())
    more = page(next_=f"{API}/discussions?pageIndex=7")
    api.on("GET", "/discussions", page(talk(), next_=f"{API}/discussions?pageIndex=2"), more)
    assert len((await api.marketplace().discussions(window(api))).discussions) == 1
    assert len(api.asked("GET", "/discussions")) == 2


async def test_no_content_is_an_empty_list(api: ScriptedApi) -> None:
    api.on("GET", "/discussions", Reply(None, 204, {"Content-Type": ""}))
    assert await api.marketplace().discussions(window(api)) == Listing(())


@pytest.mark.parametrize("segment", ["..", ".", "", " "])
async def test_no_identifier_leads_to_another_address(api: ScriptedApi, segment: str) -> None:
    market = api.marketplace()
    with pytest.raises(RefusedError):
        await market.messaging.mark_seen([segment])
    with pytest.raises(RefusedError):
        await market.order_for_money(segment)
    assert api.calls == []


async def test_null_items_are_none(api: ScriptedApi) -> None:
    api.on("GET", "/discussions", Reply({"itemsPerPage": None, "items": None}))
    assert await api.marketplace().discussions(window(api)) == Listing(())
