"""Which discussion a mail belongs to, and whether it is a reply at all.

A reply is a mail to the discussion's reply address (or, in alias mode, to the alias) that
answers a mail of that thread. A mail of our threads addressed elsewhere (forwards above all:
clients put In-Reply-To on them) is never sent on, obeyed or answered.

A mail that answers nothing may write first about an order: to the order's address, or to the
alias or mailbox with a command on its first line, which only reading it can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mailbridge.domain.identity import Identity
from mailbridge.domain.notice import HoldReason

__all__ = [
    "Elsewhere",
    "Envelope",
    "Faulty",
    "First",
    "NotOurs",
    "ReplyAddresses",
    "ReplyTo",
    "route",
]


_ORDER = re.compile(r"mb-order-(.{1,60})")


@dataclass(frozen=True, slots=True)
class Envelope:
    """The addresses and ids of a mail; addr-specs in any case, ids with angle brackets."""

    sender: str
    recipients: tuple[str, ...]
    """To, Cc and Bcc together."""
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


class ReplyAddresses:
    """Makes and reads reply addresses for one account's reply mode."""

    def __init__(
        self,
        identity: Identity,
        *,
        mode: str,
        mailbox: str,
        reply_address: str | None,
        former_aliases: Iterable[str] = (),
        former_domains: Iterable[str] = (),
    ) -> None:
        """`mode` is plus, catchall or alias; the latter two need `reply_address`.

        Threads filed before a change go on naming what they were filed with: `former_aliases`
        were reply addresses of alias mode, `former_domains` those of plus or catch-all addresses.
        """
        self._identity = identity
        self.mailbox = mailbox.lower()
        self._mode = mode
        self._base = (reply_address or mailbox).lower()
        self._local, _, self._domain = self._base.rpartition("@")
        self._aliases = {a.lower() for a in former_aliases}
        if mode == "alias":
            self._aliases.add(self._base)
        self._domains = {self._domain, self.mailbox.rpartition("@")[2]}
        self._domains |= {d.lower() for d in former_domains}

    def of(self, short: str) -> str:
        """The addr-spec that replies of this discussion go to."""
        match self._mode:
            case "plus":
                return f"{self._local}+{self._identity.route(short)}@{self._domain}"
            case "catchall":
                return f"{self._identity.route(short)}@{self._domain}"
            case _:
                return self._base

    def of_order(self, number: str) -> str:
        """The addr-spec to write first about an order, in the modes that have such addresses;
        in alias mode the alias, which needs the command on the first line."""
        match self._mode:
            case "plus":
                return f"{self._local}+mb-order-{number.lower()}@{self._domain}"
            case "catchall":
                return f"mb-order-{number.lower()}@{self._domain}"
            case _:
                return self._base

    def names_order(self, address: str) -> str | None:
        """What stands where an order's address has its number, well formed or not."""
        local, _, domain = address.lower().rpartition("@")
        found = _ORDER.fullmatch(local.rpartition("+")[2])
        return found[1] if found is not None and domain in self._domains else None

    def is_door(self, address: str) -> bool:
        """True for an address by which any mail comes in: mailbox, alias, catch-all's own."""
        return address.lower() in {self.mailbox, self._base, *self._aliases}

    def is_alias(self, address: str) -> bool:
        """True if this is the one fixed reply address of alias mode, or was one before."""
        return address.lower() in self._aliases

    def proves(self, address: str) -> str | None:
        """The short id an address proves; checked in every mode, so that threads filed in
        another one go on (from another domain: where that is among the former ones)."""
        local, _, domain = address.lower().rpartition("@")
        if domain not in self._domains:
            return None
        return self._identity.read_route(local.rpartition("+")[2])


@dataclass(frozen=True, slots=True)
class NotOurs:
    """No business of ours."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Of one of our threads, but addressed to somebody else: left alone."""

    short: str


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """A reply in this thread; `answers` is the Message-ID it answers."""

    short: str
    answers: str


@dataclass(frozen=True, slots=True)
class Faulty:
    """Nearly a reply: to be held in this thread for this reason."""

    short: str
    reason: HoldReason
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class First:
    """A mail that answers nothing, and may write first about an order.

    `number` is what its address names, None where only its first line can tell. `fault` is
    what is wrong with whom it is addressed to.
    """

    number: str | None
    fault: tuple[HoldReason, Mapping[str, str]] | None = None


Route = NotOurs | Elsewhere | ReplyTo | Faulty | First


def route(
    mail: Envelope,
    addresses: ReplyAddresses,
    identity: Identity,
    known: Mapping[str, str] | None = None,
) -> Route:
    """Decide. `known` maps Message-IDs seen in threads (colleagues' replies, mails of ours
    filed under a key since lost) to short ids."""
    known = known or {}
    addressed = {s for a in mail.recipients if (s := addresses.proves(a))}
    orders = {n for a in mail.recipients if (n := addresses.names_order(a)) is not None}
    alias = any(addresses.is_alias(a) for a in mail.recipients)
    answered = _threads(mail.in_reply_to, identity, known)
    mentioned = _threads(mail.references, identity, known)
    if not addressed and not alias and not orders and (answered or mentioned):
        return Elsewhere(min(answered | mentioned))
    threads = answered or mentioned
    named = addressed | threads
    if not named:
        return _first(mail, addresses, orders)
    short = min(addressed or threads)
    if len(named) > 1 or orders:
        ids = ", ".join([*sorted(s.upper() for s in named), *sorted(n.upper() for n in orders)])
        return Faulty(short, HoldReason.TWO_DISCUSSIONS, {"ids": ids})
    others = sorted(_others(mail, addresses))
    if others:
        return Faulty(short, HoldReason.OTHER_RECIPIENTS, {"addresses": ", ".join(others)})
    if not threads:
        return Faulty(short, HoldReason.NO_THREAD)
    return ReplyTo(short, next(iter((*mail.in_reply_to, *reversed(mail.references))), ""))


def _first(mail: Envelope, addresses: ReplyAddresses, orders: set[str]) -> First | NotOurs:
    """A new mail: to an order, to any door of the mailbox, or a person's business."""
    new = not mail.in_reply_to and not mail.references
    if not orders and not (new and any(addresses.is_door(a) for a in mail.recipients)):
        return NotOurs()  # somebody's mail to the shop: a person's, not ours
    fault: tuple[HoldReason, Mapping[str, str]] | None = None
    if len(orders) > 1:
        numbers = ", ".join(sorted(n.upper() for n in orders))
        fault = HoldReason.TWO_DISCUSSIONS, {"ids": numbers}
    elif others := sorted(_others(mail, addresses)):
        fault = HoldReason.OTHER_RECIPIENTS, {"addresses": ", ".join(others)}
    return First(min(orders, default=None), fault)


def _threads(ids: Iterable[str], identity: Identity, known: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    for message_id in ids:
        name = identity.read(message_id)
        if name is not None:
            found.add(name.short)
        elif (short := known.get(message_id.strip())) is not None:
            found.add(short)
    return found


def _others(mail: Envelope, addresses: ReplyAddresses) -> set[str]:
    # A copy to oneself or to the shared mailbox is a habit of clients, not a recipient.
    own = {mail.sender.lower(), addresses.mailbox}
    return {
        a.lower()
        for a in mail.recipients
        if addresses.proves(a) is None
        and addresses.names_order(a) is None
        and not addresses.is_door(a)
        and a.lower() not in own
    }
