"""The mail that shows a daily digest: a mail by itself, in no thread.

It answers to the mailbox, not to any discussion: what staff write below it is said among
themselves (docs/threads.md). Its first line is its subject.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mailbridge.domain.deadline import Urgency
from mailbridge.domain.digest import HOME, SHORT, Answer, Digest, Listed, Movement, Trouble
from mailbridge.domain.notice import MONEY_REASONS
from mailbridge.domain.thread import Thread
from mailbridge.domain.wording import clean_line
from mailbridge.mail.compose import DAEMON_NAME, FROM_DOMAIN, Composed, Composer
from mailbridge.mail.headers import Headers, MailMarks
from mailbridge.mail.marking import guard, mark
from mailbridge.mail.mime import multipart, text_part

__all__ = ["digest_mail"]

_Shown = dict[str, Any]


def digest_mail(
    composer: Composer,
    digest: Digest,
    threads: Mapping[str, Thread],
    *,
    shop: str,
    key: str,
    date: datetime,
    message_id: str,
) -> Composed:
    """Make the mail. `threads` are those of `digest.discussions` that are known, `shop` says
    whose it is; `key` is the journal's, `date` the Date header, aware."""
    context = composer.general | {
        "shop": mark(clean_line(shop, 60)),
        "at": digest.at,
        "since": digest.since,
        "read_until": digest.read_until,
        "urgencies": [
            {
                "urgency": str(urgency),
                "count": digest.counts.get(urgency, 0),
                "entries": [
                    _answer(entry, threads)
                    for entry in digest.answers.shown
                    if entry.urgency is urgency
                ],
            }
            for urgency in (Urgency.OVERDUE, Urgency.SOON, Urgency.LATER)
        ],
        "waiting": digest.waiting,
        "overdue": digest.counts.get(Urgency.OVERDUE, 0),
        "more_answers": digest.answers.more,
        "held": _troubles(composer, digest.held, threads),
        "failed": _troubles(composer, digest.failed, threads),
        "money_waits": {
            "entries": [_movement(entry, threads) for entry in digest.money.shown],
            "count": len(digest.money),
            "more": digest.money.more,
        },
        "unfiled": digest.unfiled,
        "figures": digest.figures,
    }
    text = composer.render("mail/digest.txt.j2", context)
    page = composer.render("mail/digest.html.j2", context, html=True)
    subject = clean_line(text.text.strip().partition("\n")[0], 200)
    marks = MailMarks(
        account=composer.account,
        discussion=HOME,
        reference="",
        kind="",
        customer="",
        started_at=date,
        notice=key,
        notice_kind=HOME,
    )
    head = _headers(composer, subject, message_id, date)
    marks.write(head)
    head.raw("MIME-Version", "1.0")
    body = multipart(
        "alternative",
        [text_part(guard(text.text)), text_part(page.text, "html")],
        seed=message_id,
    )
    return Composed(message_id, bytes(head) + body, text.problem or page.problem)


def _headers(composer: Composer, subject: str, message_id: str, date: datetime) -> Headers:
    name, address = composer.mailbox
    headers = Headers()
    headers.address("From", DAEMON_NAME, f"{SHORT}@{FROM_DOMAIN}")
    headers.address("To", name, address)
    headers.address("Reply-To", name, address)
    headers.text("Subject", subject)
    headers.date("Date", date.astimezone(composer.zone))
    headers.ids("Message-ID", [message_id])
    # RFC 3834 5 and MS-OXCMAIL 2.1.3.2.20: no robot answers this.
    headers.raw("Auto-Submitted", "auto-generated")
    headers.raw("X-Auto-Response-Suppress", "All")
    return headers


def _about(discussion: str | None, threads: Mapping[str, Thread]) -> _Shown:
    """Where an entry belongs; empty words where nothing is known of it."""
    thread = threads.get(discussion or "")
    if thread is None:
        return dict.fromkeys(("short", "title", "customer", "kind", "topic", "claim"), "")
    short = thread.short.upper()
    return {
        "short": short,
        "title": mark(clean_line(thread.subject, 200).removesuffix(f"({short})").rstrip()),
        "customer": mark(clean_line(thread.customer, 80)),
        "kind": str(thread.kind),
        "topic": mark(clean_line(thread.topic, 80)),
        "claim": mark(clean_line(thread.claim_type or "", 80)),
    }


def _answer(entry: Answer, threads: Mapping[str, Thread]) -> _Shown:
    return {"about": _about(entry.discussion, threads), "due": entry.due}


def _movement(entry: Movement, threads: Mapping[str, Thread]) -> _Shown:
    return {
        "about": _about(entry.discussion, threads),
        "order": mark(clean_line(entry.order, 40)),
        "kind": str(entry.kind or ""),
        "amount": entry.amount if entry.kind else None,
        "need": str(entry.need),
        "at": entry.at,
        "by": mark(clean_line(entry.by, 80)),
    }


def _troubles(composer: Composer, listed: Listed[Trouble], threads: Mapping[str, Thread]) -> _Shown:
    return {
        "entries": [
            {
                "about": _about(entry.discussion, threads),
                "title": _title(composer, entry, threads.get(entry.discussion or "")),
                "order": mark(clean_line(entry.facts.get("order", ""), 40)),
                "at": entry.at,
                "by": mark(clean_line(entry.by, 80)),
            }
            for entry in listed.shown
        ],
        "count": len(listed),
        "more": listed.more,
    }


def _title(composer: Composer, entry: Trouble, thread: Thread | None) -> str:
    """The first line of the notice that told of it; empty where none did."""
    if not entry.reason:
        return ""
    shared = composer.general if thread is None else composer.context(thread)
    shared |= {"code": "", "reply_text": ""}
    file = "money" if entry.reason in MONEY_REASONS else "hold"
    return composer.words(file, entry.reason, entry.facts, shared)[0].title
