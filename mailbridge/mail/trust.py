"""Evidence of origin: was this mail written by staff, or does it only say so?

Fail closed: a mail is level 1 only by proof that this provider is configured to give. Every field
below the first hop that is not the provider's may be forged, and so may a field of the right name
above it, where the provider does not remove forged ones. See docs/trust.md for the levels and for
each way round them that is known.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, cast

import authres

from mailbridge.domain.wording import clean_line
from mailbridge.mail.incoming import IncomingMail

__all__ = ["Doubt", "DoubtKind", "Evidence", "Level", "Proof", "TrustRules", "origin"]


class Level(IntEnum):
    """How far a mail is trusted."""

    ROUTED = 0
    """Nothing but its address or threading is proven: held, a code may release it."""
    PROVEN = 1
    """From is a staff identity and the origin is proven: text, note, template, close."""


class Proof(StrEnum):
    """The kind of proof."""

    SENT_COPY = "sent_copy"
    """A clean copy in a Sent folder: put there by someone signed in to the mailbox."""
    AUTHENTICATION_RESULTS = "authentication_results"
    """The provider's own check: DMARC passed for the domain in From (RFC 8601)."""
    EXCHANGE_INTERNAL = "exchange_internal"
    """Exchange marked it as sent by an authenticated user of the organization."""

    def in_words(self, french: bool = True) -> str:
        """For status and log."""
        return _PROOFS[self][0 if french else 1]


_PROOFS = {
    Proof.SENT_COPY: ("copie nette dans le dossier Envoyés", "clean copy in the Sent folder"),
    Proof.AUTHENTICATION_RESULTS: (
        "vérification DMARC du fournisseur réussie",
        "the provider's DMARC check passed",
    ),
    Proof.EXCHANGE_INTERNAL: ("envoi interne selon Exchange", "internal mail, says Exchange"),
}


class DoubtKind(StrEnum):
    """Why a kind of proof does not hold."""

    NOT_IN_SENT = "not_in_sent"
    SENT_OFF = "sent_off"
    DELIVERED = "delivered"
    """Bears marks of a delivery: someone else's mail was put into the folder."""
    RETURN_PATH = "return_path"
    HOPS = "hops"
    NOT_SUBMITTED = "not_submitted"
    FOREIGN_HOST = "foreign_host"
    NO_RESULTS = "no_results"
    RESULTS_UNREADABLE = "results_unreadable"
    NOT_PASSED = "not_passed"
    NOT_ALIGNED = "not_aligned"
    NOT_INTERNAL = "not_internal"


_DOUBTS = {
    DoubtKind.NOT_IN_SENT: (
        "le mail n'est pas dans le dossier Envoyés",
        "the mail is not in the Sent folder",
    ),
    DoubtKind.SENT_OFF: (
        "les copies du dossier Envoyés ne comptent pas (configuration)",
        "copies in Sent do not count (configuration)",
    ),
    DoubtKind.DELIVERED: (
        "la copie du dossier Envoyés a été livrée par le serveur de courrier",
        "the copy in Sent was delivered there by the mail server",
    ),
    DoubtKind.RETURN_PATH: (
        "l'adresse d'enveloppe n'est pas celle de l'expéditeur",
        "the envelope address is not the sender's",
    ),
    DoubtKind.HOPS: (
        "la copie du dossier Envoyés est passée par plusieurs serveurs",
        "the copy in Sent has passed several servers",
    ),
    DoubtKind.NOT_SUBMITTED: (
        "le premier serveur n'a pas identifié l'expéditeur",
        "the first server did not authenticate the sender",
    ),
    DoubtKind.FOREIGN_HOST: (
        "le serveur d'envoi n'est pas celui du fournisseur",
        "the submission server is not the provider's",
    ),
    DoubtKind.NO_RESULTS: (
        "le fournisseur n'a pas noté de vérification",
        "the provider wrote no authentication results",
    ),
    DoubtKind.RESULTS_UNREADABLE: (
        "la vérification du fournisseur est illisible",
        "the provider's authentication results cannot be read",
    ),
    DoubtKind.NOT_PASSED: ("la vérification DMARC n'a pas réussi", "DMARC did not pass"),
    DoubtKind.NOT_ALIGNED: (
        "la vérification DMARC porte sur un autre domaine",
        "DMARC passed for another domain",
    ),
    DoubtKind.NOT_INTERNAL: (
        "Exchange ne marque pas le mail comme interne",
        "Exchange does not mark the mail as internal",
    ),
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """One kind of proof that does not hold, and why; `detail` is a field's or a host's name."""

    kind: DoubtKind
    detail: str = ""

    def in_words(self, french: bool = True) -> str:
        """A clause for a notice, without a stop at its end."""
        words = _DOUBTS[self.kind][0 if french else 1]
        return f"{words} ({self.detail})" if self.detail else words


@dataclass(frozen=True, slots=True)
class TrustRules:
    """What counts at this provider. Host names are in any case; a name covers those below it."""

    staff: frozenset[str]
    """Addresses that staff write from, lower case."""
    sent_copy: bool = True
    authserv_ids: frozenset[str] = frozenset()
    """authserv-ids of the provider's own Authentication-Results; empty: none count."""
    exchange_internal: bool = False
    submission_hosts: frozenset[str] = frozenset()
    """Names that the provider's submission server writes behind `by`."""
    own_domains: frozenset[str] = frozenset()
    """Domains of the provider's servers and of the mailbox, where no hosts are named; also what
    tells a hop of the provider's from a foreign one."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found out about a mail's origin."""

    staff: bool
    """From is one of the configured identities."""
    proof: Proof | None
    """The origin is proven, whoever the sender is."""
    doubts: tuple[Doubt, ...] = field(default=())
    """Why each of the other kinds did not prove it."""

    @property
    def level(self) -> Level:
        """Level 1 needs both: a staff identity, and proof of origin."""
        return Level.PROVEN if self.staff and self.proof is not None else Level.ROUTED

    def why(self, french: bool = True) -> str:
        """The proof in words, else every doubt."""
        if self.proof is not None:
            return self.proof.in_words(french)
        return " ; ".join(doubt.in_words(french) for doubt in self.doubts)


def origin(mail: IncomingMail, *, in_sent: bool, rules: TrustRules) -> Evidence:
    """Weigh the evidence of one copy of a mail. `in_sent`: it lies in a Sent folder.

    Never raises. A mail with two From fields or authors never gets here: `read_mail` refuses it.
    """
    staff = mail.from_.address.lower() in rules.staff
    doubts: list[Doubt] = []
    doubt = _sent_copy(mail, in_sent, rules)
    if doubt is None:
        return Evidence(staff, Proof.SENT_COPY)
    doubts.append(doubt)
    if rules.authserv_ids:
        doubt = _authentication_results(mail, rules)
        if doubt is None:
            return Evidence(staff, Proof.AUTHENTICATION_RESULTS)
        doubts.append(doubt)
    if rules.exchange_internal:
        marks = mail.headers(_AUTH_AS)
        if len(marks) == 1 and marks[0].strip().lower() == "internal":
            return Evidence(staff, Proof.EXCHANGE_INTERNAL)
        doubts.append(Doubt(DoubtKind.NOT_INTERNAL))
    return Evidence(staff, None, tuple(doubts))


# ------------------------------------------------------------------------------- Sent copies

# Delivery writes at least one of these. Dovecot (lmtp_save_to_detail_mailbox), Cyrus, Fastmail
# and others file outside mail to support+Sent@ in the folder Sent: such mail bears them.
_DELIVERY_MARKS = (
    "delivered-to", "x-original-to", "authentication-results", "arc-authentication-results",
    "x-delivered-to", "envelope-to", "x-envelope-to", "received-spf", "x-forwarded-to",
    "x-forwarded-for", "resent-from", "x-sieve", "delivery-date", "x-resolved-to", "apparently-to",
    "x-received",
)  # fmt: skip

_AUTH_AS = "x-ms-exchange-organization-authas"

# RFC 3848 and RFC 6531: the `A` says that the client signed in. Exchange writes `mapi` for its own
# clients, webmails write `http`; both sign in, too.
_SUBMITTED = frozenset(
    {"esmtpa", "esmtpsa", "utf8smtpa", "utf8smtpsa", "lmtpa", "lmtpsa", "asmtp"}
    | {"http", "https", "mapi"}
)


def _sent_copy(mail: IncomingMail, in_sent: bool, rules: TrustRules) -> Doubt | None:
    """None if it is a clean copy: no mark of delivery, no hop but the provider's own submission."""
    if not in_sent:
        return Doubt(DoubtKind.NOT_IN_SENT)
    if not rules.sent_copy:
        return Doubt(DoubtKind.SENT_OFF)
    for name in _DELIVERY_MARKS:
        if mail.has(name):
            return Doubt(DoubtKind.DELIVERED, name)
    if any(v.strip().lower() != "internal" for v in mail.headers(_AUTH_AS)):
        return Doubt(DoubtKind.DELIVERED, _AUTH_AS)
    for path in mail.headers("return-path"):
        # Servers that file the copy themselves write it; then it is the writer's own address.
        if path.strip().strip("<>").lower() != mail.from_.address.lower():
            return Doubt(DoubtKind.RETURN_PATH)
    hops = mail.headers("received")
    if len(hops) > 1:
        return Doubt(DoubtKind.HOPS, str(len(hops)))
    if not hops:
        return None
    hop = _hop(hops[0])
    if hop is None or hop.protocol not in _SUBMITTED:
        return Doubt(DoubtKind.NOT_SUBMITTED)
    if not _within(hop.host, rules.submission_hosts or rules.own_domains):
        return Doubt(DoubtKind.FOREIGN_HOST, clean_line(hop.host, 80))
    return None


@dataclass(frozen=True, slots=True)
class _Hop:
    """A Received field: the host that wrote it, and how it got the mail, in lower case."""

    host: str
    protocol: str


# RFC 5321 section 4.4. The one after `from` is the client's own word (HELO): a single token, so
# that no `by` or `with` in it is taken for the server's.
_RECEIVED = re.compile(
    r"(?:from\s+\S+\s+)?by\s+([\w.:\[\]-]+)\s+(?:via\s+\S+\s+)?(?:with\s+([\w-]+)\b)?.*",
    re.IGNORECASE | re.DOTALL,
)


def _hop(received: str) -> _Hop | None:
    found = _RECEIVED.fullmatch(f"{_without_comments(received)} ".lstrip())
    if found is None:
        return None
    return _Hop(found[1].strip("[].").lower(), (found[2] or "").lower())


def _without_comments(text: str) -> str:
    """Comments nest, and hold what the client chose to say."""
    out: list[str] = []
    depth, at = 0, 0
    while at < len(text):
        char = text[at]
        if char == "\\" and depth:
            at += 1
        elif char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif not depth:
            out.append(char)
        at += 1
    return "".join(out)


def _within(host: str, domains: Collection[str]) -> bool:
    name = host.lower().rstrip(".")
    return any(
        name == domain or name.endswith(f".{domain}")
        for domain in (d.lower().strip(".") for d in domains)
        if domain
    )


# -------------------------------------------------------------------- Authentication-Results


def _authentication_results(mail: IncomingMail, rules: TrustRules) -> Doubt | None:
    """None if the provider itself says that DMARC passed for the domain in From.

    Only the topmost field with a configured authserv-id is read, and only above the first foreign
    hop: what stands below came with the mail (RFC 8601 section 5).
    """
    for name, value in mail.fields:
        if name == "received" and not _own_hop(value, rules):
            break
        if name != "authentication-results":
            continue
        if not _claims(value, rules.authserv_ids):
            continue
        return _judged(value, mail.from_.address)
    return Doubt(DoubtKind.NO_RESULTS)


def _own_hop(received: str, rules: TrustRules) -> bool:
    hop = _hop(received)
    if hop is None:
        return False
    if _within(hop.host, rules.submission_hosts | rules.own_domains | rules.authserv_ids):
        return True
    try:
        address = ipaddress.ip_address(hop.host)
    except ValueError:
        return hop.host in ("localhost", "localhost.localdomain")
    # Gmail's inner hops are `by 2002:a05:…`: a private address in 6to4 form (RFC 3056).
    inner = address.sixtofour if isinstance(address, ipaddress.IPv6Address) else None
    return (inner or address).is_private


def _claims(value: str, authserv_ids: frozenset[str]) -> bool:
    first = _without_comments(value).partition(";")[0].split()
    return bool(first) and first[0].strip('"').lower() in {i.lower() for i in authserv_ids}


# authres gives its classes their first argument at import, which its types do not tell.
_PARSER = cast("Callable[[str], Any]", authres.AuthenticationResultsHeader.parse_value)


def _judged(value: str, author: str) -> Doubt | None:
    try:
        read = _PARSER(value[:8_000])
    except (authres.AuthResError, ValueError, TypeError, IndexError, RecursionError):
        # authres raises SyntaxErrors of its own on fields without an authserv-id.
        return Doubt(DoubtKind.RESULTS_UNREADABLE)
    results = [r for r in read.results if str(getattr(r, "method", "")).lower() == "dmarc"]
    if not results or any(str(r.result).lower() != "pass" for r in results):
        return Doubt(DoubtKind.NOT_PASSED)
    domain = author.rpartition("@")[2].lower()
    for result in results:
        about = [
            str(p.value).lower().rpartition("@")[2]
            for p in result.properties
            if (str(p.type).lower(), str(p.name).lower()) == ("header", "from")
        ]
        if not about or any(one != domain for one in about):
            return Doubt(DoubtKind.NOT_ALIGNED, clean_line(", ".join(about), 80))
    return None
