"""The mail side: relay, provider, mailboxes and an agent's hand, all over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from random import Random

import aiosmtplib
import pytest
import pytest_asyncio

from mailbridge.sandbox.agent import Agent, Client, SeenMail
from mailbridge.sandbox.books import BookedDiscussion, Books
from mailbridge.sandbox.clock import HandClock
from mailbridge.sandbox.mailserver import MailServer, Provider, lmtp_delivery
from mailbridge.sandbox.people import Cast
from mailbridge.sandbox.relay import RelayServer, Undeliverable, plain_text
from mailbridge.sandbox.smtp import (
    DropAfterDot,
    DropBeforeDot,
    HangAfterDot,
    Reply,
    SmtpFault,
    Stage,
)
from tests.dovecot import Dovecot

SUPPORT = "support@maison-brindille.example"
PASSWORD = "brindille"
ROUTE = "support+mb-cd-3c2e7r-aaaaaaaaaaaaaaaa@maison-brindille.example"


def a_mail(to: str, text: str = "Bonjour,\nVotre colis part demain.", **more: str) -> bytes:
    message = EmailMessage()
    message["From"] = f"Maison Brindille <{SUPPORT}>"
    message["To"] = to
    message["Subject"] = "Votre commande"
    message["Message-ID"] = "<une-reponse@maison-brindille.example>"
    for name, value in more.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message.as_bytes().replace(b"\n", b"\r\n")


@pytest_asyncio.fixture
async def relay(books: Books) -> AsyncIterator[RelayServer]:
    async with RelayServer(books) as running:
        yield running
    assert asyncio.all_tasks() == {asyncio.current_task()}, "some server left tasks behind"


@asynccontextmanager
async def shop(
    clock: HandClock, relay: RelayServer, provider: Provider | None = None
) -> AsyncIterator[MailServer]:
    """A provider with one shared mailbox."""
    async with MailServer(
        {SUPPORT: PASSWORD, "paul@maison-brindille.example": PASSWORD},
        clock=clock,
        rng=Random(5),
        provider=provider or Provider(),
        relay=relay,
        retry_every=0.02,
    ) as running:
        yield running


@pytest_asyncio.fixture
async def mail(clock: HandClock, relay: RelayServer) -> AsyncIterator[MailServer]:
    async with shop(clock, relay) as running:
        yield running


def hand(server: MailServer, client: Client = Client.THUNDERBIRD) -> Agent:
    return Agent(
        address=SUPPORT,
        user=SUPPORT,
        password=PASSWORD,
        imap=(server.host, server.imap_port),
        smtp=(server.host, server.smtp_port),
        clock=server.clock,
        rng=Random(9),
        name="Paul, Maison Brindille",
        client=client,
    )


async def submit(server: MailServer, to: str, data: bytes) -> None:
    await aiosmtplib.send(
        data,
        sender=SUPPORT,
        recipients=[to],
        hostname=server.host,
        port=server.smtp_port,
        username=SUPPORT,
        password=PASSWORD,
        start_tls=False,
        timeout=2,
    )


def address_of(books: Books, discussion: BookedDiscussion) -> str:
    address = books.relay_for_discussion(discussion.id)[1]
    assert address is not None
    return address


class TestRelay:
    async def _send(self, relay: RelayServer, to: str, data: bytes, sender: str = SUPPORT) -> None:
        await aiosmtplib.send(
            data,
            sender=sender,
            recipients=[to],
            hostname=relay.host,
            port=relay.port,
            start_tls=False,
            timeout=2,
        )

    async def test_a_mail_becomes_a_message_after_the_lag(
        self, relay: RelayServer, books: Books, cast: Cast, clock: HandClock
    ) -> None:
        claim = cast.claim()
        address = address_of(books, claim)
        await self._send(relay, address, a_mail(address))
        assert claim.seller_texts == ["Bonjour,\nVotre colis part demain."]
        assert len(books.visible(claim)) == 1
        clock.advance(timedelta(minutes=57))
        assert books.visible(claim)[-1].name == books.seller
        (kept,) = relay.accepted
        assert (kept.recipient, kept.discussion_id) == (address, claim.id)
        assert kept.message["Message-ID"] == "<une-reponse@maison-brindille.example>"

    async def test_only_registered_senders(
        self, relay: RelayServer, books: Books, cast: Cast
    ) -> None:
        claim = cast.claim()
        address = address_of(books, claim)
        with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
            await self._send(relay, address, a_mail(address), "someone@elsewhere.example")
        assert refused.value.code == 550
        forged = a_mail(address).replace(SUPPORT.encode(), b"someone@elsewhere.example")
        with pytest.raises(aiosmtplib.SMTPResponseException):
            await self._send(relay, address, forged)
        assert claim.seller_texts == []

    async def test_unknown_and_expired_addresses(
        self, relay: RelayServer, books: Books, cast: Cast
    ) -> None:
        claim = cast.claim()
        address = address_of(books, claim)
        books.expire_relay(address)
        for dead in (address, f"c.{'0' * 32}@clemarche.com", "noreply@clemarche.com"):
            with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
                await self._send(relay, dead, a_mail(dead))
            assert refused.value.recipients[0].code == 550
        assert len(relay.refused) == 3

    async def test_a_bounce_that_comes_back_as_a_message(
        self, relay: RelayServer, books: Books, cast: Cast
    ) -> None:
        relay.undeliverable = Undeliverable.MESSAGE
        claim = cast.claim()
        address = address_of(books, claim)
        books.expire_relay(address)
        await self._send(relay, address, a_mail(address))
        assert claim.seller_texts == []
        assert "permanent fatal errors" in books.visible(claim)[-1].text
        assert relay.accepted[-1].discussion_id is None

    def test_html_only_and_empty_mails(self) -> None:
        message = EmailMessage()
        message.set_content("<p>Bonjour&nbsp;Marie,</p><p>c'est <b>fait</b>.</p>", subtype="html")
        assert plain_text(message).split() == ["Bonjour", "Marie,", "c'est", "fait."]
        assert plain_text(EmailMessage()) == ""
        odd = message_from_bytes(
            b"Content-Type: text/plain; charset=x-martian\r\n\r\nBonjour\r\n", policy=default
        )
        assert plain_text(odd) == "Bonjour"


class TestProvider:
    async def test_a_plus_address_reaches_the_inbox_as_a_provider_delivers(
        self, mail: MailServer, clock: HandClock
    ) -> None:
        await submit(mail, ROUTE, a_mail(ROUTE))
        await mail.settled()
        (found,) = await mail.mails(SUPPORT)
        assert found.message["Return-Path"] == f"<{SUPPORT}>"
        assert found.message["Delivered-To"] == SUPPORT
        assert found.message["X-Original-To"] == ROUTE
        assert "with ESMTPA id" in found.message["Received"]
        assert found.internal_date == clock()
        assert "\\Seen" not in found.flags

    async def test_without_plus_addresses(self, clock: HandClock, relay: RelayServer) -> None:
        provider = Provider(plus=False, aliases={"reponses@maison-brindille.example": SUPPORT})
        async with shop(clock, relay, provider) as mail:
            with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
                await submit(mail, ROUTE, a_mail(ROUTE))
            await submit(
                mail,
                "reponses@maison-brindille.example",
                a_mail("reponses@maison-brindille.example"),
            )
            await mail.settled()
            assert len(await mail.mails(SUPPORT)) == 1

    async def test_a_lax_provider_reports_unknown_addresses_by_mail(
        self, clock: HandClock, relay: RelayServer
    ) -> None:
        async with shop(clock, relay, Provider(plus=False, rejects_unknown=False)) as mail:
            await submit(mail, ROUTE, a_mail(ROUTE))
            await mail.settled()
            (report,) = await mail.mails(SUPPORT)
            assert report.message.get_content_type() == "multipart/report"
            assert report.message["Return-Path"] == "<>"

    async def test_a_catch_all(self, clock: HandClock, relay: RelayServer) -> None:
        async with shop(clock, relay, Provider(plus=False, catchall=SUPPORT)) as mail:
            anything = "mb-cd-3c2e7r-aaaaaaaaaaaaaaaa@maison-brindille.example"
            await submit(mail, anything, a_mail(anything))
            await mail.settled()
            (found,) = await mail.mails(SUPPORT)
            assert found.message["X-Original-To"] == anything

    async def test_a_server_that_files_sent_copies_and_changes_mail(
        self, clock: HandClock, relay: RelayServer
    ) -> None:
        provider = Provider(
            saves_sent_copy=True,
            rewrites_message_id=True,
            disclaimer="Maison Brindille SARL",
            authenticates=True,
        )
        async with shop(clock, relay, provider) as mail:
            await submit(mail, ROUTE, a_mail(ROUTE))
            await mail.settled()
            (sent,) = await mail.mails(SUPPORT, "Sent")
            (got,) = await mail.mails(SUPPORT)
        assert sent.message["Message-ID"] == "<une-reponse@maison-brindille.example>"
        assert sent.message["Return-Path"] == f"<{SUPPORT}>"
        assert len(sent.message.get_all("Received", [])) == 1
        assert sent.flags == {"\\Seen"}
        assert got.message["Message-ID"] != sent.message["Message-ID"]
        assert plain_text(got.message).endswith("Maison Brindille SARL")
        assert (
            "dmarc=pass header.from=maison-brindille.example"
            in got.message["Authentication-Results"]
        )

    async def test_mail_from_outside(self, mail: MailServer) -> None:
        await mail.receive("spam@elsewhere.example", SUPPORT, a_mail(SUPPORT))
        (found,) = await mail.mails(SUPPORT)
        assert found.message["Return-Path"] == "<spam@elsewhere.example>"
        assert "with ESMTP id" in found.message["Received"]
        with pytest.raises(KeyError):
            await mail.receive("spam@elsewhere.example", "nobody@other.example", b"")

    async def test_a_stranger_may_not_submit(self, mail: MailServer) -> None:
        with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
            await aiosmtplib.send(
                a_mail(SUPPORT),
                sender=SUPPORT,
                recipients=[SUPPORT],
                hostname=mail.host,
                port=mail.smtp_port,
                start_tls=False,
            )
        assert refused.value.code == 530

        def sign_in() -> None:
            with smtplib.SMTP(mail.host, mail.smtp_port) as server:
                server.login(SUPPORT, "wrong")

        with pytest.raises(smtplib.SMTPAuthenticationError):
            await asyncio.to_thread(sign_in)

    async def test_to_the_customer_and_back_as_a_report(
        self, mail: MailServer, books: Books, cast: Cast
    ) -> None:
        claim = cast.claim()
        address = address_of(books, claim)
        await submit(mail, address, a_mail(address))
        await mail.settled()
        assert claim.seller_texts == ["Bonjour,\nVotre colis part demain."]

        books.expire_relay(address)
        await submit(mail, address, a_mail(address))
        await mail.settled()
        (report,) = await mail.mails(SUPPORT)
        status = next(
            part for part in report.message.walk()
            if part.get_content_type() == "message/delivery-status"
        )  # fmt: skip
        assert f"Final-Recipient: rfc822; {address}" in status.as_string()
        assert "Action: failed" in status.as_string()
        assert "Status: 5.1.1" in status.as_string()
        assert b"Message-ID: <une-reponse@maison-brindille.example>" in report.data

    async def test_the_relay_is_away_for_a_while(
        self, mail: MailServer, relay: RelayServer, books: Books, cast: Cast
    ) -> None:
        claim = cast.claim()
        address = address_of(books, claim)
        await relay.stop()
        await submit(mail, address, a_mail(address))
        await asyncio.sleep(0.05)
        assert claim.seller_texts == []
        relay.faults.once(Reply(Stage.DOT, "451 4.3.2 Try again later"))
        await relay.start()
        await mail.settled()
        assert len(claim.seller_texts) == 1

    async def test_mail_to_the_rest_of_the_world_ends_here(self, mail: MailServer) -> None:
        await submit(mail, "friend@elsewhere.example", a_mail("friend@elsewhere.example"))
        await mail.settled()
        assert [recipient for recipient, _ in mail.sent_away] == ["friend@elsewhere.example"]


class TestSubmissionFaults:
    @pytest.mark.parametrize(
        ("fault", "error", "kept"),
        [
            (Reply(Stage.MAIL, "451 4.7.1 Slow down"), aiosmtplib.SMTPSenderRefused, False),
            (Reply(Stage.RCPT, "550 5.7.1 No"), aiosmtplib.SMTPRecipientsRefused, False),
            (Reply(Stage.DOT, "554 5.7.1 Quota"), aiosmtplib.SMTPDataError, False),
            (DropBeforeDot(), aiosmtplib.SMTPServerDisconnected, False),
            (DropAfterDot(kept=False), aiosmtplib.SMTPServerDisconnected, False),
            (DropAfterDot(kept=True), aiosmtplib.SMTPServerDisconnected, True),
            (HangAfterDot(30, kept=False), aiosmtplib.SMTPTimeoutError, False),
            (HangAfterDot(30, kept=True), aiosmtplib.SMTPTimeoutError, True),
        ],
    )
    async def test_one_try_goes_wrong_the_next_is_well(
        self, mail: MailServer, fault: SmtpFault, error: type[Exception], kept: bool
    ) -> None:
        mail.submission.faults.once(fault)
        with pytest.raises(error):
            await submit(mail, SUPPORT, a_mail(SUPPORT))
        await mail.settled()
        assert len(mail.submitted) == (1 if kept else 0)
        assert mail.submission.faults.pending == 0
        await submit(mail, SUPPORT, a_mail(SUPPORT))
        await mail.settled()
        assert len(await mail.mails(SUPPORT)) == (2 if kept else 1)


class TestMailboxes:
    async def _imap(self, mail: MailServer) -> imaplib.IMAP4:
        def sign_in() -> imaplib.IMAP4:
            box = imaplib.IMAP4(mail.host, mail.imap_port, timeout=5)
            box.login(SUPPORT, PASSWORD)
            return box

        return await asyncio.to_thread(sign_in)

    async def test_folders_and_keywords(self, mail: MailServer) -> None:
        assert mail.imap is not None
        assert set(await mail.imap.folders(SUPPORT)) == {
            "INBOX", "Sent", "Drafts", "Junk", "Trash", "Archive",
        }  # fmt: skip
        uid = await mail.imap.append(SUPPORT, a_mail(SUPPORT))
        box = await self._imap(mail)

        def mark() -> None:
            box.select()
            box.uid("STORE", str(uid), "+FLAGS", "($MailbridgeDone)")
            box.logout()

        await asyncio.to_thread(mark)
        (found,) = await mail.mails(SUPPORT)
        assert found.flags == {"$MailbridgeDone"}
        assert found.data == a_mail(SUPPORT), "the same bytes back"

    async def test_a_restart_cuts_clients_and_keeps_mail(self, mail: MailServer) -> None:
        assert mail.imap is not None
        await mail.imap.append(SUPPORT, a_mail(SUPPORT))
        box = await self._imap(mail)
        port = mail.imap_port
        await mail.imap.stop()
        with pytest.raises((imaplib.IMAP4.abort, OSError)):
            await asyncio.to_thread(box.noop)
        await mail.imap.start()
        assert mail.imap_port == port
        assert len(await hand(mail).mails()) == 1

    async def test_idle_hears_of_new_mail_and_of_the_end(self, mail: MailServer) -> None:
        assert mail.imap is not None
        reader, writer = await asyncio.open_connection(mail.host, mail.imap_port)

        async def until(word: bytes) -> None:
            async with asyncio.timeout(2):
                while word not in await reader.readline():
                    pass

        writer.write(f'a LOGIN "{SUPPORT}" {PASSWORD}\r\nb SELECT INBOX\r\nc IDLE\r\n'.encode())
        await until(b"+ Idling")
        await mail.imap.append(SUPPORT, a_mail(SUPPORT))
        await until(b"* 1 EXISTS")
        await mail.imap.stop()
        async with asyncio.timeout(2):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        assert reader.at_eof() or reader.exception()
        writer.close()

    async def test_a_new_uidvalidity(self, mail: MailServer) -> None:
        assert mail.imap is not None
        box = await self._imap(mail)

        def validity() -> bytes:
            box.select("Sent")
            return bytes(box.response("UIDVALIDITY")[1][0])

        before = await asyncio.to_thread(validity)
        await mail.imap.recreate(SUPPORT, "Sent")
        assert await asyncio.to_thread(validity) != before
        await asyncio.to_thread(box.logout)


def threaded(subject: str = "Où est mon colis ? (cd-3c2e7r)") -> bytes:
    """A mail such as the daemon files."""
    return a_mail(
        SUPPORT,
        "Bonjour,\n\nOù est mon colis ?",
        Reply_To=f"Marie Dupré <{ROUTE}>",
        References="<d.cd-3c2e7r@mb.maison-brindille.example> <m.1@mb.maison-brindille.example>",
        In_Reply_To="<m.1@mb.maison-brindille.example>",
        Date="Thu, 25 Apr 2019 10:51:55 +0200",
    ).replace(b"Subject: Votre commande", f"Subject: {_encoded(subject)}".encode())


def _encoded(subject: str) -> str:
    message = EmailMessage()
    message["Subject"] = subject
    return message.as_string().removeprefix("Subject: ").strip()


class TestAgent:
    @pytest_asyncio.fixture
    async def filed(self, mail: MailServer) -> SeenMail:
        assert mail.imap is not None
        await mail.imap.append(SUPPORT, threaded())
        return await hand(mail).newest("Où est mon colis")

    async def test_a_reply_from_thunderbird(self, mail: MailServer, filed: SeenMail) -> None:
        written = await hand(mail).reply(filed, "Bonjour Marie,\nil part demain.\n!clos")
        await mail.settled()
        assert written.recipients == (ROUTE,), "Reply-To is obeyed"

        (sent,) = await mail.mails(SUPPORT, "Sent")
        assert sent.data == written.data
        assert sent.message["Subject"] == "Re: Où est mon colis ? (cd-3c2e7r)"
        parent = str(filed.message["Message-ID"])
        assert sent.message["In-Reply-To"] == parent
        assert sent.message["References"].split()[-1] == parent
        text = plain_text(sent.message)
        assert text.startswith("Bonjour Marie,\nil part demain.\n!clos\n\nLe 25/04/2019 à 10:51, ")
        assert "> Où est mon colis ?" in text

        inbox = await mail.mails(SUPPORT)
        assert len(inbox) == 2, "the reply lands in the mailbox it was sent from"
        assert inbox[1].message["Message-ID"] == sent.message["Message-ID"]

    async def test_a_reply_from_roundcube_below_the_quote(
        self, mail: MailServer, filed: SeenMail
    ) -> None:
        agent = hand(mail, Client.ROUNDCUBE)
        written = await agent.reply(
            filed,
            "Merci.",
            below=True,
            to_all=True,
            cc=["paul@maison-brindille.example"],
            attachments=[("étiquette.pdf", b"%PDF-1.4", "application/pdf")],
        )
        assert written.recipients == (ROUTE, "paul@maison-brindille.example")
        sent = (await agent.mails("Sent"))[0]
        text = sent.text
        assert text.startswith("Le 2019-04-25 10:51, Maison Brindille a écrit :\n> Bonjour,")
        assert text.endswith("Merci.")
        names = [part.get_filename() for part in sent.message.iter_attachments()]
        assert names == ["étiquette.pdf"]

    async def test_a_forward_keeps_the_thread_but_not_the_address(
        self, mail: MailServer, filed: SeenMail
    ) -> None:
        written = await hand(mail).forward(filed, "friend@elsewhere.example", "Regarde ça")
        await mail.settled()
        assert [recipient for recipient, _ in mail.sent_away] == ["friend@elsewhere.example"]
        (sent,) = await mail.mails(SUPPORT, "Sent")
        assert sent.message["In-Reply-To"] == filed.message["Message-ID"]
        assert written.recipients == ("friend@elsewhere.example",)
        assert ROUTE in plain_text(sent.message), "clients print Reply-To into forwards"

    async def test_a_draft_goes_nowhere(self, mail: MailServer, filed: SeenMail) -> None:
        await hand(mail).draft(filed, "Bonjour, je")
        await mail.settled()
        (draft,) = await mail.mails(SUPPORT, "Drafts")
        assert "\\Draft" in draft.flags
        assert mail.submitted == []

    async def test_moving_a_thread_to_a_french_folder(
        self, mail: MailServer, filed: SeenMail
    ) -> None:
        assert mail.imap is not None
        agent = hand(mail)
        await mail.imap.append(SUPPORT, threaded("Re: Où est mon colis ? (cd-3c2e7r)"))
        await mail.imap.append(SUPPORT, a_mail(SUPPORT, "Autre chose"))
        await agent.move_thread(filed, "Réglé")
        assert len(await mail.mails(SUPPORT, "Réglé")) == 2
        assert [each.text for each in await agent.mails()] == ["Autre chose"]
        rest = await agent.newest("Autre chose")
        await agent.mark(rest)
        assert (await agent.newest("Autre chose")).seen
        await agent.delete(rest)
        assert await agent.mails() == []
        await agent.expunge((await agent.mails("Trash"))[0])
        assert await agent.mails("Trash") == []

    async def test_waiting_for_what_comes(self, mail: MailServer) -> None:
        agent = hand(mail)
        waiting = asyncio.create_task(agent.wait_for("cd-3c2e7r", seconds=5))
        await asyncio.sleep(0.05)
        assert mail.imap is not None
        await mail.imap.append(SUPPORT, threaded())
        assert (await waiting).subject.endswith("(cd-3c2e7r)")
        with pytest.raises(TimeoutError):
            await agent.wait_for("jamais", seconds=0.1)
        with pytest.raises(LookupError):
            await agent.newest("jamais")


async def test_delivery_into_dovecot(
    clock: HandClock, relay: RelayServer, dovecot: Dovecot, user: str
) -> None:
    """The delivery side is a callable: LMTP instead of pymap."""
    local, _, domain = user.partition("@")
    async with MailServer(
        {user: PASSWORD},
        clock=clock,
        rng=Random(5),
        relay=relay,
        deliver=lmtp_delivery("127.0.0.1", dovecot.lmtp),
    ) as mail:
        with pytest.raises(RuntimeError):
            _ = mail.imap_port
        await mail.receive("someone@elsewhere.example", f"{local}+mb-x@{domain}", a_mail(user))

    def look() -> bytes:
        with imaplib.IMAP4("127.0.0.1", dovecot.imap) as box:
            box.login(user, "secret")
            box.select()
            row = box.fetch("1", "(BODY.PEEK[])")[1][0]
            assert isinstance(row, tuple)
            return bytes(row[1])

    stored = await asyncio.to_thread(look)
    assert b"Return-Path: <someone@elsewhere.example>" in stored
    assert b"Delivered-To:" in stored
