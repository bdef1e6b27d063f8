"""The newer door: discussions, answers, files and closing, over the books both doors share."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

import pytest

from mailbridge.domain.discussion import AuthorKind
from mailbridge.sandbox.books import BookedFile, Books, CloseStatus
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.octopia import OctopiaSimulator, PatchKey
from mailbridge.sandbox.octopia.documents import stamp
from mailbridge.sandbox.people import Cast
from tests.sandbox.rest import Rest

ANSWER = "Bonjour, votre colis part demain."


class TestListing:
    async def test_a_list_item_is_as_the_sample_on_record(
        self, rest: Rest, cast: Cast, books: Books
    ) -> None:
        order = cast.order(shipped_days_ago=5)
        claim = cast.claim(order, claim_type="DamagedProduct")
        [item] = await rest.whole("/discussions")
        number = order.number
        assert item == {
            "discussionId": claim.object_id,
            "subject": claim.subject,
            "orderReference": number,
            "orderSellerId": number,
            "salesChannelExternalReference": str(claim.id),
            "isOpen": True,
            "graduation": "Claim",
            "subTypologyCode": "productIsDamaged",
            "typologyCode": "Order",
            "createdAt": "2019-04-25T09:05:00Z",
            "updatedAt": "2019-04-25T09:04:59.907Z",  # before its creation, as in the sample
            "status": "ToTreat",
            "customerId": item["customerId"],
            "sellerId": "98979",
            "salesChannel": "CDISFR",
        }
        assert len(item["customerId"]) == 12
        assert claim.customer.last_name not in str(item)

    async def test_messages_are_only_in_the_detail(
        self, rest: Rest, cast: Cast, books: Books
    ) -> None:
        claim = cast.claim(text="Où est mon colis ?")
        books.operator_writes(claim, "Merci de répondre au client.")
        books.robot_writes(claim, "Relance automatique")
        [bare] = await rest.whole("/discussions")
        assert not {"message", "messages", "receivers"} & bare.keys()
        [first] = await rest.whole("/discussions", includeMessages="FirstMessage")
        [last] = await rest.whole("/discussions", includeMessages="LastMessage")
        assert (first["message"]["body"], last["message"]["body"]) == (
            "Où est mon colis ?",
            "Relance automatique",
        )
        whole = await rest.get(f"/discussions/{claim.object_id}")
        assert [(m["sender"]["userType"], m["hasRead"]) for m in whole["messages"]] == [
            ("Customer", False),
            ("GrcOperator", False),
            ("Automatic", False),
        ]
        assert len({m["messageId"] for m in whole["messages"]}) == 3
        assert whole["messages"][0] == first["message"]
        assert [r["userType"] for r in whole["receivers"]] == ["Customer", "GrcOperator"]

    async def test_ids_stay_when_messages_are_added(
        self, rest: Rest, cast: Cast, books: Books
    ) -> None:
        claim = cast.claim()
        before = await rest.get(f"/discussions/{claim.object_id}")
        books.customer_writes(claim, "Alors ?")
        after = await rest.get(f"/discussions/{claim.object_id}")
        assert after["messages"][0] == before["messages"][0]
        assert len(after["messages"]) == 2

    async def test_pages_are_found_by_their_links(self, rest: Rest, cast: Cast) -> None:
        made = {cast.claim().object_id for _ in range(60)}
        first = await rest.call("GET", "/discussions")
        assert (first.json()["itemsPerPage"], len(first.json()["items"])) == (25, 25)
        assert "total" not in str(first.json().keys())
        found = await rest.whole("/discussions")
        assert {item["discussionId"] for item in found} == made
        assert len(found) == 60
        refused = await rest.call("GET", "/discussions", pageSize=101)
        assert list(refused.json()["errors"]) == ["pageSize"]

    async def test_the_window_looks_at_changes_and_has_an_end(
        self, rest: Rest, cast: Cast, clock: HandClock, books: Books
    ) -> None:
        old, revived = cast.claim(), cast.claim()
        clock.advance(timedelta(days=40))
        books.customer_writes(revived, "Toujours rien")
        found = await rest.whole("/discussions", updatedAtMin=stamp(clock() - timedelta(days=1)))
        assert [item["discussionId"] for item in found] == [revived.object_id]
        found = await rest.whole("/discussions", updatedAtMin=stamp(clock() - timedelta(days=180)))
        assert [item["discussionId"] for item in found] == [old.object_id, revived.object_id]
        begin = stamp(clock() - timedelta(days=200))
        refused = await rest.call("GET", "/discussions", updatedAtMin=begin)
        assert refused.status_code == 400
        assert refused.headers["Content-Type"].startswith("application/problem+json")
        assert "6 months" in refused.json()["errors"]["updatedAtMin"][0]

    async def test_filters(self, rest: Rest, cast: Cast, books: Books) -> None:
        closed, waiting, answered = cast.claim(), cast.order_question(), cast.claim()
        offer = cast.offer_question()
        books.seller_writes(answered, "Oui.")
        books.close_by_force(closed)
        books.seller_lag = timedelta(0)
        books.seller_writes(answered, "Encore oui.")
        offer.channel = "RAKUFR"

        async def found(**query: str | bool) -> list[str]:
            items = await rest.whole("/discussions", **query)
            return sorted(item["discussionId"] for item in items)

        def ids(*of: object) -> list[str]:
            return sorted(d.object_id for d in books.discussions if d in of)

        assert await found(isOpen=False) == ids(closed)
        assert await found(processStatus="ToTreat") == ids(waiting, offer)
        assert await found(processStatus="Treated") == ids(closed, answered)
        assert await found(salesChannel="CDISFR") == ids(closed, waiting, answered)
        assert await found(typologyCode="offer") == ids(offer)
        assert await found(orderSellerId=waiting.order_number or "") == ids(waiting)
        assert await found(subTypologyCode="orderModification") == ids(waiting)

    @pytest.mark.parametrize(
        ("microsecond", "fraction"), [(0, ""), (413_000, ".413"), (320_000, ".32"), (1, ".000001")]
    )
    def test_fractions_have_the_digits_they_need(self, microsecond: int, fraction: str) -> None:
        moment = datetime.fromisoformat("2023-10-17T15:58:01+02:00")
        assert stamp(moment.replace(microsecond=microsecond)) == f"2023-10-17T13:58:01{fraction}Z"


class TestAnswering:
    async def test_an_answer_is_a_message_of_the_seller(
        self, rest: Rest, cast: Cast, clock: HandClock
    ) -> None:
        claim = cast.claim(text="Où est mon colis ?")
        made = await rest.reply(claim.object_id, ANSWER)
        assert made.status_code == 201
        assert claim.seller_texts == [ANSWER]
        # It takes its time to appear, as with the relay.
        whole = await rest.get(f"/discussions/{claim.object_id}")
        assert (len(whole["messages"]), whole["status"]) == (1, "ToTreat")
        clock.advance(timedelta(minutes=57))
        whole = await rest.get(f"/discussions/{claim.object_id}")
        assert whole["messages"][1]["messageId"] == made.json()["messageId"]
        assert whole["messages"][1]["sender"] == {"userId": "98979", "userType": "Seller"}
        assert whole["status"] == "Treated"

    async def test_what_is_wrong_is_named_and_nothing_is_written(
        self, rest: Rest, cast: Cast, octopia: OctopiaSimulator
    ) -> None:
        question = cast.order_question()
        ident = question.object_id
        for changes, field in (
            ({"body": "Trop court !"}, "body"),
            ({"body": "x" * 5001}, "body"),
            ({"receiver": None}, "receiver"),
            ({"receiver": "Friend"}, "receiver"),
            ({"receiver": "GrcOperator"}, "receiver"),  # care has not joined in
            ({"receiver": None, "receivers": [{"userType": "Customer"}]}, "receiver"),
        ):
            refused = await rest.reply(ident, ANSWER, **changes)
            assert (refused.status_code, list(refused.json()["errors"])) == (400, [field])
            assert refused.headers["Content-Type"].startswith("application/problem+json")
        missing = await rest.reply("0" * 24, ANSWER)
        assert missing.status_code == 404
        assert question.seller_texts == []
        assert octopia.performed("sendMessage") == 0

    async def test_customer_care_is_answered_apart(
        self, rest: Rest, cast: Cast, books: Books, octopia: OctopiaSimulator
    ) -> None:
        claim = cast.claim()
        books.operator_writes(claim, "Merci de nous répondre.")
        made = await rest.reply(claim.object_id, "Nous nous en occupons.", receiver="GrcOperator")
        assert made.status_code == 201
        assert claim.seller_texts == []  # the customer got nothing
        assert claim.messages[-1].to is AuthorKind.OPERATOR

    async def test_the_older_shape_is_a_rule(
        self, rest: Rest, cast: Cast, octopia: OctopiaSimulator
    ) -> None:
        claim = cast.claim()
        octopia.rules.receiver_list = True
        refused = await rest.reply(claim.object_id, ANSWER)
        assert list(refused.json()["errors"]) == ["receivers"]
        [to] = [
            r
            for r in (await rest.get(f"/discussions/{claim.object_id}"))["receivers"]
            if r["userType"] == "Customer"
        ]
        made = await rest.reply(
            claim.object_id, ANSWER, receiver=None, receivers=[to], salesChannel="CDISFR"
        )
        assert made.status_code == 201

    async def test_a_closed_discussion_takes_messages_unless_the_rule_says_no(
        self, rest: Rest, cast: Cast, books: Books, octopia: OctopiaSimulator
    ) -> None:
        claim = cast.claim()
        books.close_by_force(claim)
        assert (await rest.reply(claim.object_id, ANSWER)).status_code == 201
        assert claim.closed
        octopia.rules.closed_takes_messages = False
        assert (await rest.reply(claim.object_id, ANSWER)).status_code == 409
        assert claim.seller_texts == [ANSWER]

    async def test_html_in_bodies(self, rest: Rest, cast: Cast, octopia: OctopiaSimulator) -> None:
        claim = cast.claim(text="Bonjour,\n\nreçu < 3 jours\n& cassé")
        octopia.rules.html_bodies = True
        [message] = (await rest.get(f"/discussions/{claim.object_id}"))["messages"]
        assert message["body"] == "<p>Bonjour,</p><p>reçu &lt; 3 jours<br />&amp; cassé</p>"

    async def test_read_marks(self, rest: Rest, cast: Cast, octopia: OctopiaSimulator) -> None:
        claim = cast.claim()
        path = f"/discussions/{claim.object_id}"
        [message] = (await rest.get(path))["messages"]
        opt = [{"opt": "replace", "path": "/hasRead", "value": "true"}]
        right = [{"op": "replace", "path": "/hasRead", "value": True}]
        mark = f"/messages/{message['messageId']}"
        refused = await rest.call("PATCH", mark, right)
        assert list(refused.json()["errors"]) == ["[0].opt"]
        assert (await rest.call("PATCH", mark, opt)).status_code == 204
        octopia.rules.patch_key = PatchKey.OP
        assert (await rest.call("PATCH", mark, opt)).status_code == 400
        assert (await rest.call("PATCH", mark, right)).status_code == 204
        assert (await rest.get(path))["messages"][0]["hasRead"] is True
        assert (await rest.call("PATCH", "/messages/none", right)).status_code == 404


class TestFiles:
    async def test_a_customers_photos(
        self, rest: Rest, cast: Cast, books: Books, octopia: OctopiaSimulator
    ) -> None:
        claim = cast.claim()
        photo = BookedFile("carton.enfoncé.JPG", b"\xff\xd8\xff")
        books.customer_writes(claim, "Voici.", files=[photo, BookedFile("sans", b"")])
        whole = await rest.get(f"/discussions/{claim.object_id}")
        assert "attachments" not in whole["messages"][1]
        ident = whole["messages"][1]["messageId"]
        found = await rest.whole("/attachments", messageId=ident)
        assert found == await rest.whole("/attachments", discussionId=claim.object_id)
        assert [(f["attachmentName"], f["fileFormat"]) for f in found] == [
            ("carton.enfoncé", "JPG"),
            ("sans", ""),
        ]
        assert base64.b64decode(found[0]["content"]) == photo.data
        first = whole["messages"][0]["messageId"]
        assert await rest.whole("/attachments", messageId=first) == []
        assert (await rest.call("GET", "/attachments")).status_code == 400
        octopia.rules.announces_files = True
        whole = await rest.get(f"/discussions/{claim.object_id}")
        assert [len(m["attachments"]) for m in whole["messages"]] == [0, 2]

    async def test_files_that_go_out_are_checked(self, rest: Rest, cast: Cast) -> None:
        claim = cast.claim()

        def file(size: int = 3, ending: str = "pdf") -> dict[str, str]:
            content = base64.b64encode(b"x" * size).decode()
            return {"content": content, "name": "facture", "fileFormat": ending}

        for files in (
            [file()] * 4,
            [file(ending="exe")],
            [file(2_000_000)] * 2 + [file(1)],
            [{**file(), "content": "***"}],
        ):
            refused = await rest.reply(claim.object_id, ANSWER, attachments=files)
            assert (refused.status_code, list(refused.json()["errors"])) == (400, ["attachments"])
        nameless = {"content": "eA==", "fileFormat": "pdf"}
        refused = await rest.reply(claim.object_id, ANSWER, attachments=[nameless])
        assert list(refused.json()["errors"]) == ["name"]
        assert claim.seller_texts == []
        files = [file(2_000_000), file(2_000_000, "png")]
        taken = await rest.reply(claim.object_id, ANSWER, attachments=files)
        assert taken.status_code == 201
        assert [f.name for f in claim.messages[-1].files] == ["facture.pdf", "facture.png"]


class TestClosing:
    async def test_the_rules_are_those_of_the_other_door(
        self, rest: Rest, cast: Cast, books: Books, clock: HandClock
    ) -> None:
        claim = cast.claim(cast.order())
        refused = await rest.turn(claim.object_id, open_=False)
        assert (refused.status_code, refused.json()["title"]) == (409, CloseStatus.LAST_ANSWER)
        await rest.reply(claim.object_id, ANSWER)
        clock.advance(timedelta(hours=1))
        order = books.orders.get(claim.order_number)
        assert order is not None
        order.request_cancellation()
        refused = await rest.turn(claim.object_id, open_=False)
        assert (refused.status_code, refused.json()["title"]) == (409, CloseStatus.CANCEL_PENDING)
        order.settle_cancellation()
        assert (await rest.turn(claim.object_id, open_=False)).status_code == 204
        assert (await rest.turn(claim.object_id, open_=False)).status_code == 204
        assert claim.closed
        assert (await rest.get(f"/discussions/{claim.object_id}"))["isOpen"] is False
        assert (await rest.turn(claim.object_id, open_=True)).status_code == 204
        assert not claim.closed
        assert (await rest.turn("f" * 24, open_=False)).status_code == 404


class TestWritingFirst:
    async def test_a_discussion_by_the_seller(
        self, rest: Rest, cast: Cast, books: Books, octopia: OctopiaSimulator
    ) -> None:
        order = cast.order()
        body = {
            "subject": "Votre commande",
            "orderId": order.number,
            "salesChannel": "CDISFR",
            "subtypologyCode": "sellerInformation",
            "message": {"body": ANSWER, "receiver": "Customer"},
        }
        made = await rest.call("POST", "/discussions", body)
        assert made.status_code == 201
        [discussion] = books.discussions
        assert made.json() == {"discussionId": discussion.object_id}
        assert (discussion.seller_texts, discussion.order_number) == ([ANSWER], order.number)
        for changes, status in (
            ({"orderId": "NO-SUCH-ORDER"}, 404),
            ({"subtypologyCode": "productIsDamaged"}, 400),
            ({"message": {"body": "court", "receiver": "Customer"}}, 400),
        ):
            refused = await rest.call("POST", "/discussions", {**body, **changes})
            assert refused.status_code == status
        octopia.rules.may_open.clear()
        refused = await rest.call("POST", "/discussions", body)
        assert list(refused.json()["errors"]) == ["salesChannel"]
        assert len(books.discussions) == 1
        told = await rest.get("/sales-channel-configurations/CDISFR")
        assert told["isDiscussionCreationAllowed"] is False

    async def test_typologies(self, rest: Rest) -> None:
        items = (await rest.get("/typologies", salesChannel="CDISFR", orderStatus="InPreparation"))[
            "items"
        ]
        assert [i["subTypologyCode"] for i in items] == ["orderNotShipped", "sellerInformation"]
        items = (await rest.get("/typologies", salesChannel="CDISFR", typologyCode="offer"))[
            "items"
        ]
        assert [i["label"] for i in items] == ["Information sur le produit"]
