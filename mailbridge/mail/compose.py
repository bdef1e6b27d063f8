"""Every mail mailbridge files into a thread: a message of the discussion, or a notice to staff.

A mail of ours is text and HTML from `templates/mail/`, under headers that hold the thread
together in every client (docs/threads.md): From cannot reach anybody, Reply-To is the
discussion's reply address, `References` is the same in every mail, and the marks let a lost
journal be rebuilt. Nothing here reads a clock or the network. The mail to the customer is
`outgoing`'s; where mails are put is the filing flow's.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from mailbridge.domain.discussion import AuthorKind, Message
from mailbridge.domain.identity import Identity, NameKind
from mailbridge.domain.notice import MONEY_REASONS, DoneKind, Notice, NoticeKind
from mailbridge.domain.order import Order
from mailbridge.domain.thread import Thread, thread_index
from mailbridge.domain.wording import clean_line, clean_text, text_hash
from mailbridge.mail.card import order_card, web_link
from mailbridge.mail.frame import Frame
from mailbridge.mail.headers import Headers, MailMarks
from mailbridge.mail.marking import guard, mark
from mailbridge.mail.mime import file_part, multipart, text_part
from mailbridge.mail.rendering import Rendered, TemplateBroken, Templates
from mailbridge.mail.reply_catalogue import Catalogue
from mailbridge.mail.wordings import (
    Phrase,
    Wording,
    bare_command_in,
    fact_line,
    parse_phrase,
)

__all__ = ["DAEMON_NAME", "FROM_DOMAIN", "Composed", "Composer", "SellerPages"]

DAEMON_NAME = "mailbridge"
"""Who notices are from, as a mail client shows it."""

_SHOWING_TEXT = frozenset({DoneKind.WRITTEN_FIRST, DoneKind.ACKNOWLEDGED})
"""News that show what went to the customer, as receipts do."""

FROM_DOMAIN = "mb.invalid"
"""RFC 2606: no mail ever gets there."""


@dataclass(frozen=True, slots=True)
class SellerPages:
    """Pages of the seller's web site; empty where there is none to link to."""

    messages: str = ""
    orders: str = ""

    @classmethod
    def of_cdiscount(cls, seller_url: str) -> SellerPages:
        """The pages below Cdiscount's seller site; it has no link to one discussion or order."""
        base = web_link(seller_url).rstrip("/")
        return cls(f"{base}/Messages", f"{base}/Orders.html") if base else cls()

    @classmethod
    def of_octopia(cls, seller_url: str) -> SellerPages:
        """The Seller Zone's front page: the addresses below it are not on record."""
        base = web_link(seller_url).rstrip("/")
        return cls(base, base)


@dataclass(frozen=True, slots=True)
class Composed:
    """A mail ready to file. `problem` is a template of the shop's own that was passed over."""

    message_id: str
    data: bytes
    problem: TemplateBroken | None = None


class Composer:
    """Makes the mails of one account. Pure but for reading templates, and safe to share."""

    def __init__(
        self,
        templates: Templates,
        identity: Identity,
        *,
        account: str,
        mailbox_address: str,
        mailbox_name: str = "",
        language: str = "fr",
        timezone: str = "Europe/Paris",
        marketplace: str = "Cdiscount",
        channels: Mapping[str, str] | None = None,
        elsewhere: str = "",
        pages: SellerPages | None = None,
        replies_on: bool = True,
        by_mail: bool = True,
        closed_folder: str = "",
    ) -> None:
        """`replies_on` is False in shadow mode; `by_mail` where answers leave through the shop's
        own mail server, not the marketplace's interface; `closed_folder` is named where a move
        closes. `channels` names the sales channels of a service that serves several marketplaces,
        by their codes in capitals; what happens on others than `marketplace` is told as
        `elsewhere`'s doing."""
        self._templates = templates
        self._identity = identity
        self._account = account
        self._mailbox_address = mailbox_address
        self._mailbox_name = clean_line(mailbox_name)
        self._zone = ZoneInfo(timezone)
        self._wording = Wording(language, self._zone)
        self._marketplace = marketplace
        self._channels = dict(channels or {})
        self._elsewhere = elsewhere or marketplace
        self._pages = pages or SellerPages()
        self._replies_on = replies_on
        self._by_mail = by_mail
        self._closed_folder = clean_line(closed_folder)
        self.catalogue = Catalogue(templates)
        """The reply templates that agents may ask for."""

    @property
    def language(self) -> str:
        """`fr` or `en`."""
        return self._wording.language

    def window(self, channel: str) -> str:
        """The marketplace of a sales channel, as its customers know it: by name where we know
        one, else by the code; the account's own where there are no channels."""
        code = clean_line(channel, 40)
        return self._channels.get(code.upper(), code) or self._marketplace

    @property
    def account(self) -> str:
        """Its name in the configuration."""
        return self._account

    @property
    def zone(self) -> ZoneInfo:
        """The seller's."""
        return self._zone

    @property
    def mailbox(self) -> tuple[str, str]:
        """Display name and address of the shared mailbox."""
        return self._mailbox_name, self._mailbox_address

    def message_mail(
        self,
        thread: Thread,
        message: Message,
        *,
        key: str,
        date: datetime,
        order: Order | None = None,
        answer_by: datetime | None = None,
        attachments_missing: bool = False,
        files: Sequence[tuple[str, str, bytes]] = (),
        message_id: str | None = None,
    ) -> Composed:
        """The mail that shows one message of the discussion.

        `key` is the journal's key of the message and `message_id` its Message-ID, made from
        `key` if left out (which must then be `[0-9a-z]`). `date` is the Date header, aware. It
        is the thread's first mail if the thread has none yet, or if that is this one. `answer_by`
        is until when the shop is to answer it. `files` (name, media type, octets) are attached;
        `attachments_missing` says that there may be files which only the seller site shows.
        """
        name = message_id or self._identity.message_id(NameKind.MESSAGE, thread.short, key)
        context = self.context(thread) | {
            "words": _shown_text(message.text),
            "author": str(message.author.kind),
            "sent_at": message.sent_at,
            "answer_by": answer_by,
            "attachments_missing": attachments_missing,
            "card": order_card(order) if order else None,
        }
        text = self.render("mail/message.txt.j2", context)
        page = self.render("mail/message.html.j2", context, html=True)
        marks = replace(
            self._marks(thread),
            message=key,
            ident=message.ident or "",
            raw_time=message.raw_time,
            sent_at=message.sent_at,
            author=str(message.author.kind),
            author_name=message.author.name,
            text_hash=text_hash(message.text),
        )
        display = self._author_name(thread, message.author.kind)
        return self._mail(thread, name, date, display, marks, text, page, files=files)

    def notice_mail(
        self,
        thread: Thread,
        notice: Notice,
        *,
        key: str,
        date: datetime,
        in_reply_to: str | None = None,
        order: Order | None = None,
        message_id: str | None = None,
    ) -> Composed:
        """The mail that tells staff something in the thread.

        `in_reply_to` is the Message-ID of the mail it speaks of, the thread's first by default;
        `References` stays the thread's own whatever that is. `order` is shown below as a card.
        `key`, `date`, `message_id` as in `message_mail`.
        """
        name = message_id or self._identity.message_id(NameKind.NOTICE, thread.short, key)
        shared = self.context(thread) | {
            "kind": str(notice.kind),
            "reason": str(notice.reason or ""),
            "code": notice.code,
            "reply_text": _shown_text(notice.text),
            "closed_folder": self._closed_folder,
        }
        if notice.kind is NoticeKind.HELP:
            shared["reply_templates"] = self.catalogue.listed().templates
        phrase, first = self._phrase(notice, shared)
        done, second = self._done(notice, shared)
        context = shared | {
            "phrase": phrase,
            "done": done,
            "card": order_card(order) if order else None,
        }
        text = self.render("mail/notice.txt.j2", context)
        page = self.render("mail/notice.html.j2", context, html=True)
        kind = f"{notice.kind}/{notice.reason}" if notice.reason else str(notice.kind)
        shown = any(done.kind in _SHOWING_TEXT for done in notice.done)
        sent = notice.text and (shown or notice.kind is NoticeKind.RECEIPT)
        marks = replace(
            self._marks(thread),
            notice=key,
            notice_kind=kind,
            text_hash=text_hash(notice.text) if sent else "",
        )
        made = self._mail(
            thread, name, date, DAEMON_NAME, marks, text, page, in_reply_to=in_reply_to
        )
        return replace(made, problem=first or second or made.problem)

    def frame(self, text: str, frame: Frame, *, customer: str, channel: str = "") -> str:
        """An answer between greeting and signature (Jinja2, strict; either may be empty), in a
        discussion of this sales channel.

        Raises TemplateBroken, named by the configuration's key, where one of them fails.
        """
        given = {
            "customer": clean_line(customer),
            "marketplace": self.window(channel),
            "agent": clean_line(frame.agent),
            "shop": clean_line(frame.shop),
        }
        before, after = (
            self._templates.render_line(part.text, part.key, given)
            for part in (frame.greeting, frame.signature)
        )
        parts = (before.strip(), text.strip("\n"), after.strip("\n"))
        return "\n\n".join(part for part in parts if part.strip())

    # --- words --------------------------------------------------------------------------------

    def context(self, thread: Thread) -> dict[str, Any]:
        """What every template about a discussion may use. Who answers and shows is the
        `marketplace`; `window` is where the customer bought."""
        window = self.window(thread.sales_channel)
        return {
            **self.general,
            "marketplace": window if window == self._marketplace else self._elsewhere,
            "window": mark(window),
            "customer": thread.customer,
            "short": thread.short.upper(),
            "subject": thread.subject,
            "discussion_kind": str(thread.kind),
            "topic": mark(clean_line(thread.topic, 80)),
            "escalation": mark(clean_line(thread.escalation, 40)),
            "treated": thread.treated,
            "claim_type": mark(clean_line(thread.claim_type or "")),
            "order_number": mark(clean_line(thread.order_number or "", 40)),
            "relay_confirmed_at": thread.relay_confirmed_at,
            "twin": mark(clean_line(thread.twin or "", 30).upper()),
        }

    @property
    def general(self) -> dict[str, Any]:
        """What every template may use."""
        return {
            **self._wording.functions,
            "language": self.language,
            "marketplace": self._marketplace,
            "pages": self._pages,
            "replies_on": self._replies_on,
            "by_mail": self._by_mail,
        }

    def _phrase(
        self, notice: Notice, shared: Mapping[str, Any]
    ) -> tuple[Phrase, TemplateBroken | None]:
        """What the notice says before its list of settled things."""
        match notice.kind:
            case NoticeKind.HOLD | NoticeKind.TROUBLE:
                reason = str(notice.reason or "unreadable")
                file = "money" if reason in MONEY_REASONS else "hold"
                return self.words(file, reason, notice.facts, shared)
            case NoticeKind.CONFIRM:
                return self.words("money", str(notice.kind), notice.facts, shared)
            case _:
                return self.words("notice", str(notice.kind), notice.facts, shared)

    def _done(
        self, notice: Notice, shared: Mapping[str, Any]
    ) -> tuple[list[Phrase], TemplateBroken | None]:
        """Each settled thing: what was done as the title, its evidence below."""
        phrases: list[Phrase] = []
        problem: TemplateBroken | None = None
        for done in notice.done:
            phrase, broken = self.words("done", str(done.kind), done.facts, shared)
            phrases.append(phrase)
            problem = problem or broken
        return phrases, problem

    def words(
        self, file: str, part: str, facts: Mapping[str, str], shared: Mapping[str, Any]
    ) -> tuple[Phrase, TemplateBroken | None]:
        """A phrase of `fr/` or `en/`: the block `part` of a file, with these facts."""
        told = {name: fact_line(name, value) for name, value in facts.items()}
        context = {**told, **shared, "part": part}
        made = self._templates.render(f"mail/{self.language}/{file}.j2", context)
        return parse_phrase(made.text), made.problem

    def render(self, name: str, context: Mapping[str, Any], *, html: bool = False) -> Rendered:
        """A whole page."""
        return self._templates.render(name, context, check=bare_command_in if html else None)

    def _author_name(self, thread: Thread, author: AuthorKind) -> str:
        """The display name of From: it says at a glance who speaks."""
        french = self.language == "fr"
        window = self.window(thread.sales_channel)
        match author:
            case AuthorKind.CUSTOMER:
                return self._customer_name(thread)
            case AuthorKind.SELLER:
                shop = "Votre boutique" if french else "Your shop"
                return f"{shop} via {window}"
            case AuthorKind.OPERATOR:
                service = "Service client" if french else "Customer service of"
                return f"{service} {window}"
            case AuthorKind.AUTOMATIC:
                robot = "message automatique" if french else "automatic message"
                return f"{window} ({robot})"

    def _customer_name(self, thread: Thread) -> str:
        fallback = "Client" if self.language == "fr" else "Customer"
        name = clean_line(thread.customer, 80) or fallback
        return f"{name} via {self.window(thread.sales_channel)}"

    # --- the mail -----------------------------------------------------------------------------

    def _marks(self, thread: Thread) -> MailMarks:
        return MailMarks(
            account=self._account,
            discussion=thread.discussion_id,
            reference=thread.reference,
            kind=str(thread.kind),
            customer=thread.customer,
            started_at=thread.started_at,
            order=thread.order_number or "",
            claim=thread.claim_type or "",
            twin=thread.twin or "",
            relay=thread.relay_address or "",
            relay_confirmed_at=thread.relay_confirmed_at,
        )

    def _mail(
        self,
        thread: Thread,
        name: str,
        date: datetime,
        display: str,
        marks: MailMarks,
        text: Rendered,
        page: Rendered,
        *,
        in_reply_to: str | None = None,
        files: Sequence[tuple[str, str, bytes]] = (),
    ) -> Composed:
        first = thread.first_message_id
        begins = first is None or first == name
        headers = Headers()
        headers.address("From", display, f"{thread.short}@{FROM_DOMAIN}")
        headers.address("To", self._mailbox_name, self._mailbox_address)
        # Whoever wrote, an answer goes to the customer, and the client shows it so.
        headers.address("Reply-To", self._customer_name(thread), thread.reply_address)
        headers.text("Subject", thread.subject if begins else f"Re: {thread.subject}")
        headers.date("Date", date.astimezone(self._zone))
        headers.ids("Message-ID", [name])
        references = [self._identity.root_id(thread.short)]
        if first is not None and not begins:
            headers.ids("In-Reply-To", [in_reply_to or first])
            references.append(first)
        headers.ids("References", references)
        headers.text("Thread-Topic", thread.subject)
        index = thread_index(thread.started_at, thread.short, None if begins else date)
        headers.raw("Thread-Index", b64encode(index).decode())
        # RFC 3834 5 and MS-OXCMAIL 2.1.3.2.20: no robot answers these. No List-*: Thunderbird
        # would then offer to answer the list instead of Reply-To.
        headers.raw("Auto-Submitted", "auto-generated")
        headers.raw("X-Auto-Response-Suppress", "All")
        marks.write(headers)
        headers.raw("MIME-Version", "1.0")
        body = multipart(
            "alternative",
            [text_part(guard(text.text)), text_part(page.text, "html")],
            seed=name,
        )
        if files:
            body = multipart("mixed", [body, *(file_part(*file) for file in files)], seed=name)
        return Composed(name, bytes(headers) + body, text.problem or page.problem)


def _shown_text(text: str) -> str:
    """Running text of another, safe to show; empty if nothing in it can be seen."""
    clean = clean_text(text).strip("\n")
    return mark(clean) if clean.strip() else ""
