"""What the writer of a mail wrote: both bodies less quotes, signatures and what clients add.

The HTML body is read as well as the plain one, separately: Roundcube's text of `12,50 €` is
`12,50 EUR`, so the customer gets the words of the HTML; and commands are obeyed only where both
bodies hold the same ones. Nothing here raises, and the time is linear in the mail's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailbridge.domain.command import command_key, command_lines
from mailbridge.domain.wording import clean_text, comparable, fold_line
from mailbridge.mail.incoming import Attachment, IncomingMail
from mailbridge.mail.markup import render
from mailbridge.mail.quotes import QUOTE, without_quotes

__all__ = ["Authored", "authored_part", "bodies", "sendable_attachments"]

_MAX_TEXT = 400_000
_MAX_LINES = 10_000
_MAX_KNOWN = 2_000_000
_MAX_COMMANDS = 40


@dataclass(frozen=True, slots=True)
class Authored:
    """The authored part of one mail. Its text is cleaned: `\\n` line ends, no controls."""

    text: str
    """What to read commands from and to send; from the HTML body where that gave any words."""
    html_text: str | None = None
    """None where there is no HTML body."""
    plain_text: str | None = None
    """None where there is no plain body, or an empty one."""
    commands_agree: bool = True
    """Both bodies hold the same command lines; True where there is only one body."""
    echoed: tuple[str, ...] = ()
    """Command-like lines of `text` that also stand in known texts: never to be obeyed."""
    content_ids: frozenset[str] = frozenset()
    """Pictures that the authored part of the HTML shows."""
    quoted: bool = False
    """Something was quoted: the mail answers or forwards another."""
    unmarked: tuple[str, ...] = ()
    """A quote without marks, line by line; from the plain body where that has one."""
    complete: bool = True
    """False where a body was too long or too deep to be read whole."""


def authored_part(mail: IncomingMail, known_texts: Sequence[str] = ()) -> Authored:
    """The authored part of `mail`.

    `known_texts` are the texts of the discussion: the customer's, and what we filed ourselves.
    """
    known = _Known(known_texts)
    plain = html = None
    quoted, sound = False, True
    shown: frozenset[str] = frozenset()
    unmarked: tuple[str, ...] = ()
    if mail.plain is not None and mail.plain.strip():
        lines, sound = _lines(mail.plain)
        rest = without_quotes("\n".join(lines).replace(QUOTE, ""), known.words)
        plain, quoted, unmarked = rest.text, rest.quoted, rest.unmarked
    if mail.html is not None and mail.html.strip():
        rendered = render(mail.html)
        lines, whole = _lines(rendered.text)
        rest = without_quotes("\n".join(lines), known.words)
        html, shown = rest.text, rendered.content_ids
        quoted = quoted or rest.quoted
        unmarked = unmarked or rest.unmarked
        sound = sound and whole and rendered.sound
    text = html or plain or ""
    return Authored(
        text=text,
        html_text=html,
        plain_text=plain,
        commands_agree=plain is None or html is None or _agree(plain, html),
        echoed=known.echoes(text),
        content_ids=shown,
        quoted=quoted,
        unmarked=unmarked,
        complete=sound,
    )


def bodies(mail: IncomingMail) -> tuple[str, ...]:
    """Both bodies as text, quotes and all."""
    plain = mail.plain or ""
    html = render(mail.html).text if mail.html else ""
    return tuple("\n".join(_lines(text)[0]) for text in (plain, html) if text.strip())


def _lines(text: str) -> tuple[list[str], bool]:
    """The text's lines, cleaned, and whether these are all of them."""
    # What ends a line for Python or for a reader must end one for us, or a command hides in it.
    lines = text[:_MAX_TEXT].splitlines()
    whole = len(text) <= _MAX_TEXT and len(lines) <= _MAX_LINES
    return [clean_text(line, _MAX_TEXT) for line in lines[:_MAX_LINES]], whole


def _agree(plain: str, html: str) -> bool:
    """Whether two texts hold the same commands, in the same order."""
    shown = [command_key(line) for line in command_lines(html)]
    if shown == [command_key(line) for line in command_lines(plain)]:
        return True
    # Plain bodies are wrapped: a long command may go on on the next line.
    lines = [line for line in plain.split("\n") if line.strip()]
    here = 0
    for want in shown[:_MAX_COMMANDS]:
        while here < len(lines) and not command_lines(lines[here]):
            here += 1
        if here == len(lines):
            return False
        joined, here = lines[here], here + 1
        for _ in range(3):
            if command_key(joined) == want or here == len(lines) or len(joined) < 55:
                break
            joined, here = f"{joined} {lines[here]}", here + 1
        if command_key(joined) != want:
            return False
    return len(shown) <= _MAX_COMMANDS and not any(command_lines(x) for x in lines[here:])


class _Known:
    """Texts of the discussion, folded for two questions."""

    def __init__(self, texts: Sequence[str]) -> None:
        joined = "\n".join(texts)[:_MAX_KNOWN]
        self.words = comparable(joined)
        lines = [fold_line(line) for line in joined.splitlines()]
        self._keys = {command_key(line) for line in lines if line}
        # Our own texts name commands as « !clos »; those are no lines of anybody.
        self._running = f" {' '.join(lines)} ".casefold()

    def echoes(self, text: str) -> tuple[str, ...]:
        """Lines of `text` that could be commands and that stand in a known text: as a line, or
        inside one, from which a client that re-wraps can make a line."""
        found = command_lines(text)
        return tuple(
            line
            for at, line in enumerate(found)
            if at >= _MAX_COMMANDS or command_key(line) in self._keys or self._within(line)
        )

    def _within(self, line: str) -> bool:
        words = f" {fold_line(line).casefold()} "
        at = self._running.find(words)
        while at >= 0:
            end = at + len(words)
            before, after = self._running[at - 1 : at], self._running[end : end + 1]
            if (before, after) != ("«", "»"):
                return True
            at = self._running.find(words, at + 1)
        return False


# Parts that belong to a mail, not to a message: signatures, cards, invitations, Outlook's own
# wrapping (TNEF), and whole mails, which would carry a thread to the customer.
_NEVER = frozenset(
    {"application/pkcs7-signature", "application/x-pkcs7-signature", "application/pkcs7-mime"}
    | {"application/x-pkcs7-mime", "application/pgp-signature", "application/pgp-encrypted"}
    | {"application/pgp-keys", "text/vcard", "text/x-vcard", "text/directory", "text/calendar"}
    | {"application/ics", "application/ms-tnef", "application/vnd.ms-tnef"}
    | {"text/rfc822-headers"}
)
_NEVER_ENDINGS = (".p7s", ".p7m", ".vcf", ".ics", ".eml", ".msg", ".asc", ".sig")


def sendable_attachments(mail: IncomingMail, authored: Authored) -> tuple[Attachment, ...]:
    """The files that go to the customer with the authored part, in their order.

    A picture that only a quote or a signature shows does not, and neither do parts that are of
    the mail rather than of the message.
    """
    html = (mail.html or "").lower()
    return tuple(a for a in mail.attachments if _sendable(a, authored, html))


def _sendable(part: Attachment, authored: Authored, html: str) -> bool:
    name = part.name.lower()
    if (
        part.content_type in _NEVER
        or part.content_type.startswith(("message/", "multipart/"))
        or name.endswith(_NEVER_ENDINGS)
        or name == "winmail.dat"
        or not part.data
    ):
        return False
    if part.content_id and part.content_id in authored.content_ids:
        return True
    if part.content_id and f"cid:{part.content_id.lower()}" in html:
        # Outlook calls pictures of a quoted mail attachments, too.
        return False
    # Apple Mail calls every file inline; it is one unless it only has a place in the HTML.
    return not (part.inline and (part.related or (part.content_id and html)))
