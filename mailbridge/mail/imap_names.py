"""Folder names: between what a person reads and what an IMAP server takes.

Three layers, peeled in `Namespace`: modified UTF-7 (RFC 3501 5.1.3), the server's hierarchy
delimiter (shown as `/` everywhere), and the personal namespace's prefix (RFC 2342), such as
Courier's `INBOX.`, which no caller ever needs to write. A name that would not come back the same
is not shown at all. Which folder plays which role where the server does not say is guessed here.
"""

from __future__ import annotations

import re
import unicodedata
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from dataclasses import dataclass

from aioimaplib.aioimaplib import quoted

from mailbridge.mail.port import SpecialUse

__all__ = ["Namespace", "decode_name", "encode_name", "guess_use", "quote"]

_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")
_FOREIGN_TO_ASCII = re.compile(r"[^\x20-\x7e]+")


def quote(text: str) -> str:
    """An IMAP quoted string (RFC 3501 4.3); raises ValueError for what none can hold."""
    if not text.isascii() or any(c in text for c in "\r\n\0"):
        raise ValueError("an IMAP quoted string holds ASCII without CR, LF and NUL only")
    quoted_text: str = quoted(text)
    return quoted_text


def encode_name(name: str) -> str:
    """Unicode to modified UTF-7; control characters are encoded too, so a line can't be split."""

    def shift(match: re.Match[str]) -> str:
        data = b2a_base64(match[0].encode("utf-16-be"), newline=False)
        return "&" + data.rstrip(b"=").replace(b"/", b",").decode() + "-"

    return _FOREIGN_TO_ASCII.sub(shift, name.replace("&", "&-"))


def decode_name(name: str) -> str:
    """Modified UTF-7 to Unicode; raises ValueError for a name that is not in its one right form."""

    def unshift(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        data = match[1].replace(",", "/")
        return a2b_base64(data + "=" * (-len(data) % 4)).decode("utf-16-be")

    decoded = _SHIFTED.sub(unshift, name)
    if encode_name(decoded) != name:
        raise ValueError("not in canonical modified UTF-7")
    return decoded


@dataclass(frozen=True, slots=True)
class Namespace:
    """Where this user's folders live; all fields are decoded and in the server's own form."""

    prefix: str = ""
    delimiter: str = "/"
    """Empty on a server with a flat list of folders."""
    foreign: tuple[str, ...] = ()
    """Prefixes of other users' and shared folders."""

    def raw(self, name: str) -> str:
        """The server's own name, in modified UTF-7, for a name as callers write it.

        `Clos` and, for those who know their server, `INBOX.Clos` are the same folder.
        """
        if self.delimiter not in ("", "/"):
            name = name.replace("/", self.delimiter)
        if name.upper() == "INBOX":
            name = "INBOX"
        elif self._has_prefix(name):
            name = self.prefix + name[len(self.prefix) :]
        elif not any(name.startswith(prefix) for prefix in self.foreign if prefix):
            name = self.prefix + name
        return encode_name(name)

    def wire(self, name: str) -> str:
        """The same as a quoted mailbox argument."""
        return quote(self.raw(name))

    def shown(self, raw: str) -> str | None:
        """The name as callers write it; None for what is not ours or can't be written."""
        try:
            full = decode_name(raw)
        except ValueError:
            return None
        if full.upper() == "INBOX":
            return "INBOX"
        # A shared namespace may have an empty prefix (Cyrus); it then owns what nobody else does.
        if not self._has_prefix(full):
            return None
        if any(full.startswith(prefix) for prefix in self.foreign if prefix):
            return None
        own = full[len(self.prefix) :]
        name = own.replace(self.delimiter, "/") if self.delimiter else own
        # False for a `/` where it is no delimiter, and for `INBOX.INBOX.x`.
        same = decode_name(self.raw(name)) == self.prefix + own
        return name if own and same else None

    def _has_prefix(self, name: str) -> bool:
        # INBOX is case-insensitive, also at the head of a longer name (RFC 3501 5.1).
        return name[: len(self.prefix)].upper() == self.prefix.upper()


def _plain(name: str) -> str:
    """Letters only, lower case, no accents: `Éléments envoyés` is `elementsenvoyes`."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in letters if c.isalpha())


def _named(use: SpecialUse, names: Iterable[str]) -> dict[str, SpecialUse]:
    return {_plain(name): use for name in names}


# What mail clients and webmails create in French and English. `Outbox` and `Boîte d'envoi` are
# not here: they hold what has not left yet.
_KNOWN: dict[str, SpecialUse] = {
    **_named(
        SpecialUse.SENT,
        (
            "Sent",
            "Sent Items",
            "Sent Mail",
            "Sent Messages",
            "Éléments envoyés",
            "Messages envoyés",
            "Courriers envoyés",
            "Courrier envoyé",
            "Objets envoyés",
            "Mails envoyés",
            "E-mails envoyés",
            "Envoyés",
            "Envoyé",
        ),
    ),
    **_named(
        SpecialUse.DRAFTS,
        ("Drafts", "Draft", "Draft Messages", "Brouillons", "Brouillon"),
    ),
    **_named(
        SpecialUse.TRASH,
        (
            "Trash",
            "Bin",
            "Deleted",
            "Deleted Items",
            "Deleted Messages",
            "Corbeille",
            "Poubelle",
            "Éléments supprimés",
            "Messages supprimés",
            "Objets supprimés",
        ),
    ),
    **_named(
        SpecialUse.JUNK,
        (
            "Junk",
            "Junk E-mail",
            "Junk Mail",
            "Bulk Mail",
            "Spam",
            "Indésirables",
            "Courrier indésirable",
            "Courriers indésirables",
            "Pourriel",
            "Pourriels",
            "Quarantaine",
        ),
    ),
    **_named(SpecialUse.ARCHIVE, ("Archive", "Archives")),
    **_named(SpecialUse.ALL, ("All Mail", "Tous les messages")),
}

_GMAIL = ("[Gmail]", "[Google Mail]")


def guess_use(name: str) -> SpecialUse | None:
    """The role a folder's name suggests; top-level folders only (and Gmail's own below `[Gmail]`).

    An agent's own `Clients/Envoyés` is a folder like any other.
    """
    head, separator, tail = name.rpartition("/")
    if separator and head not in _GMAIL:
        return None
    use = _KNOWN.get(_plain(tail))
    return None if use is SpecialUse.ALL and not separator else use
