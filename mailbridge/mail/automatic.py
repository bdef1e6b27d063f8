"""Mail that no person wrote: automatic answers, lists, bounces, and mail of our own.

The signs are fields of the header (RFC 3834 section 5 and what mailers wrote before it). Automatic
mail is never sent on, obeyed or answered. A subject alone is weak: it only holds.
`X-Auto-Response-Suppress` is no sign, it is the writer's wish not to be answered by a robot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.policy import Compat32
from enum import StrEnum

from mailbridge.domain.wording import clean_line, fold_line
from mailbridge.mail.fields import decode_field, decode_octets, parse_ids
from mailbridge.mail.incoming import IncomingMail

__all__ = ["Automatic", "Bounce", "BounceAction", "MaybeAutomatic", "automatic", "bounce"]

_MAX_HOPS = 30


@dataclass(frozen=True, slots=True)
class Automatic:
    """Surely automatic."""

    sign: str
    """The field that says so, cleaned, for the log."""
    ours: bool = False
    """mailbridge wrote it: a mail of a thread that came back in."""


@dataclass(frozen=True, slots=True)
class MaybeAutomatic:
    """Looks like an absence message: hold it and let a person decide."""

    sign: str


_ROBOTS = re.compile(
    r"(?:mailer-daemon|postmaster|no-?_?\.?reply|ne-?pas-?repondre|do-?not-?reply|bounces?)(?:[+=-].*)?",
    re.IGNORECASE,
)
_MARKS = re.compile(r"x-auto-?(?:reply|respon[ds]e?r?)(?:-.+)?")
_PRECEDENCE = frozenset({"bulk", "junk", "list", "auto_reply"})
_SUBJECT = re.compile(
    r"(?:re ?: ?)?(?:reponse automatique|automatic reply|auto(?:matic)?[- ]?(?:reply|response)"
    r"|message d'absence|absence (?:du|de) |absent(?:e)? du bureau|je suis absent"
    r"|out of (?:the )?office|automatische antwort|abwesenheit|\[?autoreply\]?)",
)


def automatic(mail: IncomingMail) -> Automatic | MaybeAutomatic | None:
    """The first sign that `mail` is automatic, None for a person's mail."""
    for name, value in mail.fields:
        if name.startswith("x-mailbridge-"):
            return Automatic(name, ours=True)
        if _says_automatic(name, value):
            return Automatic(clean_line(f"{name}: {value}", 100))
    if mail.content_type == "multipart/report":
        return Automatic("content-type: multipart/report")
    local = mail.from_.address.rpartition("@")[0]
    if _ROBOTS.fullmatch(local):
        return Automatic(clean_line(f"from: {local}@…"))
    hops = len(mail.headers("received"))
    if hops > _MAX_HOPS:
        return Automatic(f"received: {hops}")
    if _SUBJECT.match(_folded(mail.subject)):
        return MaybeAutomatic(clean_line(f"subject: {mail.subject}", 100))
    return None


def _says_automatic(name: str, value: str) -> bool:
    word = re.split(r"[\s;(]", value.strip().lower(), maxsplit=1)[0]
    match name:
        case "auto-submitted":
            # RFC 3834 section 5.2: `no` says that a person wrote it.
            return word not in ("no", "")
        case "precedence":
            return word in _PRECEDENCE
        case "list-id" | "list-unsubscribe" | "list-post":
            return True
        case "return-path":
            # RFC 5321 section 4.5.5: reports and automatic answers have no way back.
            return value.strip() == "<>"
        case "x-auto-response-suppress":
            return False
        case _:
            return _MARKS.fullmatch(name) is not None and word not in ("no", "false")


def _folded(text: str) -> str:
    from_accents = str.maketrans("éèêàâôîûç’", "eeeaaoiuc'")
    return fold_line(text[:300]).casefold().translate(from_accents)


class BounceAction(StrEnum):
    """What became of the mail (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    """Information only: the server goes on trying."""
    DELIVERED = "delivered"
    """Also `relayed` and `expanded`: it got further."""


@dataclass(frozen=True, slots=True)
class Bounce:
    """A report about one of our mails. Anyone can write one: believe it only if `message_id`
    is an id that was really sent."""

    action: BounceAction
    message_id: str | None
    """Message-ID of the mail it is about, with angle brackets."""
    recipient: str = ""
    """As the report names it, cleaned."""
    status: str = ""
    """Enhanced status code (RFC 3463), such as `5.1.1`; empty where none is given."""
    diagnostic: str = ""
    """The far server's words, cleaned, at most 300 characters."""

    def __repr__(self) -> str:
        return f"Bounce({self.action}, {self.message_id!r}, status={self.status!r})"


_ACTIONS = {
    "failed": BounceAction.FAILED,
    "delayed": BounceAction.DELAYED,
    "delivered": BounceAction.DELIVERED,
    "relayed": BounceAction.DELIVERED,
    "expanded": BounceAction.DELIVERED,
}
_WEIGHT = (BounceAction.FAILED, BounceAction.DELAYED, BounceAction.DELIVERED)


def bounce(mail: IncomingMail) -> Bounce | None:
    """What a delivery report says; None for mail that is none."""
    for part in mail.attachments:
        if part.content_type in ("message/delivery-status", "message/global-delivery-status"):
            found = _standard(mail, part.data)
            if found is not None:
                return found
    return _free_form(mail)


def _fields(block: bytes) -> Message:
    return message_from_bytes(block[:60_000], policy=Compat32(mangle_from_=False))


def _first(block: Message, name: str) -> str:
    for key, value in block.raw_items():
        if key.lower() == name:
            return decode_field(str(value)[:2_000])
    return ""


def _typed(value: str) -> str:
    """`rfc822; a@b` and `smtp; 550 …` without the type in front (RFC 3464 section 2.1.2)."""
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and re.fullmatch(r"[\w -]{1,30}", kind) else value.strip()


def _standard(mail: IncomingMail, data: bytes) -> Bounce | None:
    """RFC 3464: the worst of the recipients; a mail of ours has one."""
    found: list[Bounce] = []
    for text in re.split(rb"\r?\n[ \t]*\r?\n", data, maxsplit=50)[:50]:
        block = _fields(text.lstrip() + b"\r\n\r\n")
        action = _ACTIONS.get(_first(block, "action").strip().lower().partition(" ")[0])
        if action is None:
            continue
        recipient = _first(block, "original-recipient") or _first(block, "final-recipient")
        status = re.match(r"\s*([245]\.[0-9]{1,3}\.[0-9]{1,3})", _first(block, "status"))
        found.append(
            Bounce(
                action=action,
                message_id=_original_id(mail),
                recipient=clean_line(_typed(recipient).strip("<>"), 254),
                status=status[1] if status else "",
                diagnostic=clean_line(_typed(_first(block, "diagnostic-code")), 300),
            )
        )
    return min(found, key=lambda b: _WEIGHT.index(b.action), default=None)


def _original_id(mail: IncomingMail) -> str | None:
    """From the mail that the report carries, whole or its header; else from its threading."""
    for part in mail.attachments:
        if part.content_type in (
            "message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers",
            "message/global-headers",
        ):  # fmt: skip
            head = re.split(rb"\r?\n\r?\n", part.data.lstrip(), maxsplit=1)[0]
            if ids := parse_ids(_first(_fields(head + b"\r\n\r\n"), "message-id")):
                return ids[0]
    return None


_FAILURE = re.compile(
    r"undeliver|delivery (?:status )?(?:notification|failure|has failed|problem|delayed)"
    r"|mail delivery (?:failed|failure|system)|failure notice|returned mail|mail system error"
    r"|message (?:non (?:remis|distribue|delivre)|could not be delivered)|non remis|echec (?:de|d')"
    r"|delivery (?:incomplete|delayed)|warning: |retard de (?:remise|distribution)"
)
_DELAY = re.compile(
    r"delay|warning: |retard|will (?:be retried|continue|keep trying)|incomplete"
    r"|not yet (?:been )?deliver|does not require action|no action is required"
)
_STATUS = re.compile(r"\b([45]\.[0-9]{1,3}\.[0-9]{1,3})\b")
_REPLY = re.compile(r"\b([45][0-9]{2})[ -](?:[45]\.[0-9.]+ )?\S[^\n]{3,250}")
_RECIPIENT = re.compile(r"<?([^\s<>()\"',;:]{1,64}@[\w-]+(?:\.[\w-]+)+)>?")
_ID_LINE = re.compile(r"message-id ?:\s*(<[^<>\s]{3,900}>)", re.IGNORECASE)


def _free_form(mail: IncomingMail) -> Bounce | None:
    """Reports in prose, as older servers write them: from the mail system, about a failure."""
    local = mail.from_.address.rpartition("@")[0].lower()
    null = mail.header("return-path") == "<>"
    failed = mail.header("x-failed-recipients")
    system = local.startswith(("mailer-daemon", "postmaster", "mail-daemon", "mdaemon")) or null
    subject = _folded(mail.subject)
    if not failed and not (system and _FAILURE.search(subject)):
        return None
    text = (mail.plain or mail.html or "")[:60_000]
    attached = next((a for a in mail.attachments if a.content_type == "message/rfc822"), None)
    whole = text + "\n" + (decode_octets(attached.data[:20_000], None) if attached else "")
    named = _ID_LINE.search(whole)
    told = _told(text, attached is None)
    recipient = failed or next((m[1] for m in _RECIPIENT.finditer(told)), "")
    status, reply = _STATUS.search(told), _REPLY.search(told)
    delayed = bool(_DELAY.search(subject)) or (
        status is not None and status[1].startswith("4") and not failed
    )
    return Bounce(
        action=BounceAction.DELAYED if delayed else BounceAction.FAILED,
        message_id=_original_id(mail)
        or (named[1] if named else None)
        or next(iter(mail.in_reply_to + mail.references[-1:]), None),
        recipient=clean_line(recipient.partition(",")[0], 254),
        status=status[1] if status else "",
        diagnostic=clean_line(reply[0], 300) if reply else "",
    )


def _told(text: str, copy_below: bool) -> str:
    """The words of the report, without the copy of the mail that many put below them."""
    if not copy_below:
        return text
    cut = re.search(
        r"^-{2,}.*(?:copy of|original message|message d'origine|headers?)|^return-path:|^received:",
        text,
        re.IGNORECASE | re.MULTILINE,
    )
    return text[: cut.start()] if cut else text
