"""Replies: whether they come back (the reply mode), and whether their writers can be known.

Both are learned from one round trip: a probe mail is filed, an agent answers it from the client
they always use, and the daemon notes where the answer turned up and what proves its origin. What
is noted is `bridge.probe`'s business; here it is judged, and where no evidence was seen the
headers of the answer tell which line of `[trust]` would make one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from mailbridge.bridge.probe import Proof
from mailbridge.checkup.finding import Notes
from mailbridge.checkup.mailbox import Trace
from mailbridge.config.models import Account

__all__ = ["how_to_answer", "replies"]

_PROBE = "mailbridge check --probe"


def replies(
    notes: Notes,
    name: str,
    account: Account,
    proof: Proof | None,
    traces: Sequence[Trace],
) -> None:
    """What is known of the account's replies; `proof` is None where no journal told."""
    on = account.replies.enabled
    if on:
        notes.ok("switch", "on: what staff answer is sent to customers")
    else:
        notes.info("switch", "off (replies.enabled): threads are filed and nothing leaves")
    proof = proof or Proof()
    zone = ZoneInfo(account.timezone)
    if not proof.answered_at:
        # Nothing was sent by a mode nobody has tried; with replies on, agents believe it was.
        tell = notes.bad if on else notes.warn
        if proof.asked_at:
            asked = _local(proof.asked_at, zone)
            tell(
                "reply mode",
                f"not proven: the probe of {asked} has not been answered, or its answer does not "
                "arrive in this mailbox",
                how_to_answer("the probe mail"),
            )
        else:
            mode = account.mailbox.reply_mode
            tell("reply mode", f'"{mode}" is not proven', _PROBE)
        return
    _mode(notes, account, proof, zone)
    _origin(notes, name, account, proof, traces)


def how_to_answer(which: str) -> str:
    """What an agent does with the probe."""
    return (
        f"have an agent answer « test » to {which} from the client they always use; while the "
        "daemon runs it is noticed by itself, then `mailbridge check` tells what was learned"
    )


def _mode(notes: Notes, account: Account, proof: Proof, zone: ZoneInfo) -> None:
    mode = account.mailbox.reply_mode
    answered = _local(proof.answered_at, zone)
    if proof.reply_mode == mode:
        where = proof.folders.replace(",", ", ")
        notes.ok("reply mode", f'"{mode}" is proven: an answer of {answered} was found in {where}')
        return
    tell = notes.bad if account.replies.enabled else notes.warn
    tell(
        "reply mode",
        f'"{proof.reply_mode}" was proven ({answered}), and now "{mode}" is configured',
        _PROBE,
    )


def _origin(
    notes: Notes, name: str, account: Account, proof: Proof, traces: Sequence[Trace]
) -> None:
    if proof.origin:
        notes.ok("evidence of origin", proof.origin)
        return
    tell = notes.bad if account.replies.enabled else notes.warn
    tell(
        "evidence of origin",
        f"none that is trusted in the answer ({proof.folders.replace(',', ', ')}): every reply "
        "will be held until its one-time code is given",
        _trust_line(name, account, traces),
    )


def _trust_line(name: str, account: Account, traces: Sequence[Trace]) -> str:
    section = f"[accounts.{name}.trust]"
    trust = account.trust
    for trace in traces:
        if trace.exchange_internal and not trust.exchange_internal:
            return (
                f"{section} exchange_internal = true, if this mailbox is on Exchange: the answer "
                "carries its mark for mail of your own organisation"
            )
    for trace in traces:
        server = trace.authserv_id
        if not server or server in trust.authserv_ids:
            continue
        if trace.dmarc_passed:
            return (
                f'{section} authserv_ids = ["{server}"], if {server} is your own mail provider: '
                f"it wrote dmarc=pass into the answer in {trace.folder}"
            )
        return (
            f"{server} checked the answer in {trace.folder} and found no dmarc=pass: have SPF, "
            "DKIM and DMARC set up for your domain, then probe again"
        )
    if not trust.sent_copy:
        return f"{section} sent_copy = true, and mail clients that keep a copy in Sent; probe again"
    return (
        "have the agents' clients keep a copy of what they send in this mailbox's Sent folder, "
        "then probe again"
    )


def _local(moment: str, zone: ZoneInfo) -> str:
    return datetime.fromisoformat(moment).astimezone(zone).strftime("%Y-%m-%d %H:%M")
