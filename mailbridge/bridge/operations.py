"""What an operator may ask of accounts: to look, to pause, to release, to send again, to close.

The daemon answers these over its control socket; without a running daemon the command line calls
them on a journal of its own. Nothing here performs an effect by itself except `backfill`: it
records what is wanted, and the flows do it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any

from mailbridge.bridge.account import AccountBridge
from mailbridge.bridge.closing import ask_to_close
from mailbridge.bridge.deadlines import waits
from mailbridge.bridge.mailing import Mailing, write_to
from mailbridge.bridge.movement import Unreadable
from mailbridge.bridge.overview import orders_of
from mailbridge.bridge.probe import file_probe
from mailbridge.bridge.standing import standing
from mailbridge.bridge.sweep import SweepKind
from mailbridge.bridge.templates import fault_words, fill_for_order
from mailbridge.bridge.till import (
    asked_by_operator,
    foresee,
    have_done,
    movement_of,
    settle,
    watch,
)
from mailbridge.domain.command import Command
from mailbridge.domain.filing import MACHINE as FILING
from mailbridge.domain.filing import FilingEvent, FilingState
from mailbridge.domain.lease import Lease
from mailbridge.domain.money import Asked
from mailbridge.domain.opening import is_opening
from mailbridge.domain.vocabulary import Verb
from mailbridge.journal.tables import DiscussionRow
from mailbridge.journal.transaction import Transaction
from mailbridge.marketplace.port import MarketplaceError

__all__ = ["OperationRefused", "Operations"]

Answer = dict[str, Any]

_CONFIRMED = ("obstacle", "movement", "call", "amount", "lines", "cause", "motive", "same_at")
"""What of a plan must still be so when it is asked for."""


class OperationRefused(Exception):
    """What was asked cannot be done; `str()` says why and what to do."""


class Operations:
    """The operator's side of all accounts."""

    def __init__(self, accounts: dict[str, AccountBridge]) -> None:
        self._accounts = accounts
        self.parts: Callable[[], list[Answer]] = list
        """How the running parts stand; empty without a daemon."""

    def names(self) -> list[str]:
        """Accounts, in the order of the file."""
        return list(self._accounts)

    async def status(self) -> Answer:
        """Every account: counts by state, what waits for a person, how its parts stand."""
        return {
            "accounts": [await standing(b) for b in self._accounts.values()],
            "parts": self.parts(),
        }

    async def show(self, discussion: str) -> Answer:
        """All that is known of one discussion, without the words anybody wrote."""
        bridge, row = await self._find(discussion)
        ctx = bridge.ctx
        async with ctx.read() as tx:
            messages = await tx.discussions.messages(row.id)
            replies = await tx.replies.of_discussion(row.id)
            deliveries = await tx.deliveries.of_discussion(row.id)
            closings = await tx.closings.of_discussion(row.id)
            money = await tx.money.of_discussion(row.id)
            events = await tx.events(row.id)
            filed = await tx.filings.filed(row.id)
            wait = (await waits(ctx, tx, [row.id])).get(row.id)
        lease = Lease(row.relay_address, row.relay_confirmed_at)
        return {
            "account": ctx.name,
            "discussion": row.short.upper(),
            "id": row.id,
            "kind": row.kind,
            "status": row.status,
            "treatment": row.treatment,
            "order": row.order_number,
            "folder": row.folder,
            "mails": len(filed),
            "waiting_since": _iso(wait.since if wait else None),
            "answer_due": _iso(wait.due if wait else None),
            "lease": lease.state(ctx.clock()),
            "lease_confirmed_at": _iso(row.relay_confirmed_at),
            "messages": [
                {"at": _iso(m.sent_at), "author": m.author_kind, "key": m.key} for m in messages
            ],
            "replies": [
                {
                    "reply": r.id,
                    "from": r.sender,
                    "at": _iso(r.written_at),
                    "state": r.state,
                    "reason": r.reason,
                    "evidence": r.evidence,
                    "commands": [c["verb"] for c in json.loads(r.commands)],
                }
                for r in replies
            ],
            "money": [movement_of(m) for m in money],
            "deliveries": [
                {
                    "reply": d.reply,
                    "number": d.number,
                    "automatic": d.automatic,
                    "state": d.state,
                    "attempts": d.attempts,
                    "submitted_at": _iso(d.submitted_at),
                    "recorded_at": _iso(d.recorded_at),
                    "words": d.reply_text,
                }
                for d in deliveries
            ],
            "closings": [
                {"state": c.state, "answer": c.answer, "attempts": c.attempts} for c in closings
            ],
            "events": [
                {"at": _iso(e.at), "what": e.what, "subject": e.subject, "detail": e.detail}
                for e in events
            ],
        }

    async def orders(self, numbers: list[str], *, refresh: bool = False) -> Answer:
        """Orders as last read, those of open discussions if none is named; `refresh` asks the
        marketplace first. Numbers that no account knows are in `unknown`."""
        shown: list[Answer] = []
        for bridge in self._accounts.values():
            left = [n for n in numbers if n not in {o["number"] for o in shown}]
            if numbers and not left:
                break
            try:
                shown += await orders_of(bridge, left, refresh=refresh)
            except MarketplaceError as error:
                raise OperationRefused(f"account {bridge.ctx.name}: {error}") from None
        known = {order["number"] for order in shown}
        return {"orders": shown, "unknown": [n for n in numbers if n not in known]}

    async def template(
        self, template: str, order: str, values: dict[str, str], account: str | None = None
    ) -> Answer:
        """A reply template filled in for an order that the journal holds; nothing is sent."""
        bridges = [self._account(account)] if account else list(self._accounts.values())
        asked = Command(Verb.TEMPLATE, template, template, values)
        for bridge in bridges:
            ctx = bridge.ctx
            sender = next((person.address for person in ctx.config.staff), "")
            made = await fill_for_order(ctx, order, asked, sender)
            if made is None:
                continue
            if isinstance(made, tuple):
                raise OperationRefused(fault_words(made))
            return {
                "account": ctx.name,
                "order": order,
                "template": made.template.name,
                "closes": made.template.closes,
                "text": made.text,
            }
        raise OperationRefused(
            f"order {order!r} is not in the journal: only orders of discussions are read; "
            "try --sample"
        )

    async def foresee(self, order: str, given: Answer, account: str | None = None) -> Answer:
        """What `refund` would do on this order, read afresh, or why nothing; nothing is done."""
        _, _, seen = await self._foreseen(order, given, account)
        return seen

    async def refund(
        self, order: str, given: Answer, seen: Answer, seconds: float
    ) -> AsyncIterator[Answer]:
        """Have done what the operator has `seen`; yields how it stands until it is settled."""
        bridge, asked, now = await self._foreseen(order, given, str(seen["account"]))
        if {k: now.get(k) for k in _CONFIRMED} != {k: seen.get(k) for k in _CONFIRMED}:
            raise OperationRefused(f"order {order} has changed: nothing was asked for; look again")
        async with bridge.ctx.read() as tx:
            if (await tx.account()).paused_at is not None:
                raise OperationRefused(
                    f"account {bridge.ctx.name} is paused: mailbridge resume {bridge.ctx.name}"
                )
        identity = await have_done(bridge, order, asked, now)
        async for step in watch(bridge, identity, seconds):
            yield step

    async def settle(self, order: str, *, paid: bool) -> Answer:
        """Say what became of money that the marketplace never shows since the account moved."""
        for bridge in self._accounts.values():
            done = await settle(bridge, order, paid=paid)
            if done is not None:
                return {"order": order, "amount": done["amount"], "state": done["state"]}
        raise OperationRefused(f"order {order}: no money there waits for a person's word")

    async def _foreseen(
        self, order: str, given: Answer, account: str | None
    ) -> tuple[AccountBridge, Asked, Answer]:
        try:
            asked = asked_by_operator(given)
        except ValueError as error:
            raise OperationRefused(str(error)) from None
        bridges = [self._account(account)] if account else list(self._accounts.values())
        why: list[str] = []
        for bridge in bridges:
            name = bridge.ctx.name
            if not bridge.ctx.config.money.enabled:
                why.append(f"account {name}: money is switched off (money.enabled)")
                continue
            try:
                return bridge, asked, await foresee(bridge, order, asked)
            except (Unreadable, MarketplaceError) as error:
                why.append(f"account {name}: order {order}: {error}")
        raise OperationRefused("; ".join(why))

    async def notify(
        self, mailing: Mailing, numbers: Sequence[str], account: str | None = None
    ) -> AsyncIterator[Answer]:
        """Write first to the customers of these orders; yields what becomes of each.

        An order is looked for in every account, or in the one named.
        """
        bridges = [self._account(account)] if account else list(self._accounts.values())
        for bridge in bridges:
            if account or len(bridges) == 1:
                _may_leave(bridge)
        sending = [b for b in bridges if b.ctx.config.replies.enabled]
        try:
            async for outcome in write_to(sending, mailing, numbers):
                yield outcome.to_answer()
        except MarketplaceError as error:
            raise OperationRefused(f"{error}; --resume goes on where it stopped") from None

    async def pause(self, account: str, why: str = "") -> Answer:
        """Stop sending and obeying for an account; threads are still filed."""
        bridge = self._account(account)
        async with bridge.ctx.write() as tx:
            row = await tx.account()
            row.paused_at, row.paused_why = tx.now, why or "paused by the operator"
            tx.note("account paused", detail=why)
        return {"account": account, "paused": True}

    async def resume(self, account: str) -> Answer:
        """Undo `pause`. What was held meanwhile stays held until it is released."""
        bridge = self._account(account)
        async with bridge.ctx.write() as tx:
            row = await tx.account()
            row.paused_at, row.paused_why = None, ""
            tx.note("account resumed")
        bridge.ctx.bells.outgoing.set()
        return {"account": account, "paused": False}

    async def release(self, discussion: str, reply: str | None = None) -> Answer:
        """Send what is held in a discussion (the newest, or the named reply), as it stood."""
        bridge, row = await self._find(discussion)
        _may_leave(bridge)
        async with bridge.ctx.write() as tx:
            target = (
                await tx.replies.get(reply)
                if reply
                else await bridge.obeying.held_reply(tx, None, row.id)
            )
            found = await tx.discussions.get(row.id)
            if target is None or found is None or target.discussion != row.id:
                raise OperationRefused(f"{discussion}: nothing is held there")
            if not await bridge.obeying.release(tx, target, found, by="mailbridge release"):
                raise OperationRefused(
                    f"{discussion}: held for {target.reason}; it cannot be sent as it stands, "
                    "the agent has to write it anew"
                )
            identity = target.id
        return {"discussion": row.short.upper(), "released": identity}

    async def resend(self, discussion: str) -> Answer:
        """Send the newest unrecorded reply of a discussion again, after one last reading."""
        bridge, row = await self._find(discussion)
        _may_leave(bridge)
        async with bridge.ctx.write() as tx:
            deliveries = await tx.deliveries.of_discussion(row.id)
            if not await bridge.obeying.resend(tx, deliveries):
                raise OperationRefused(f"{discussion}: no reply there waits to be recorded")
        return {"discussion": row.short.upper(), "resent": True}

    async def close(self, discussion: str) -> Answer:
        """Close a discussion without writing to the customer."""
        bridge, row = await self._find(discussion)
        _may_leave(bridge)
        async with bridge.ctx.write() as tx:
            found = await tx.discussions.get(row.id)
            if found is not None and is_opening(found.id):
                raise OperationRefused(
                    f"{discussion}: opened by writing first; the marketplace does not show a "
                    "discussion yet that could be closed"
                )
            if found is None:
                raise OperationRefused(f"{discussion}: not known")
            known = await tx.discussions.customer_messages_filed(row.id)
            await ask_to_close(
                tx, bridge.ctx, found, reply=None, customer_messages=known, wait=False
            )
        return {"discussion": row.short.upper(), "close": "asked for"}

    async def retry(self, discussion: str | None = None) -> Answer:
        """Try mails that were set aside once more: of one discussion, or all."""
        count = 0
        for bridge in self._accounts.values():
            async with bridge.ctx.write() as tx:
                count += await _retry(tx, discussion)
            bridge.ctx.bells.filing.set()
        return {"retried": count}

    async def sweep(self, account: str | None = None) -> Answer:
        """Read the marketplace now instead of at the next turn."""
        names = [account] if account else self.names()
        for name in names:
            self._account(name).ctx.bells.sweep.set()
        return {"accounts": names}

    async def probe(self, account: str) -> Answer:
        """File a mail that asks an agent to answer once; `status` tells what came of it."""
        bridge = self._account(account)
        async with bridge.ctx.mailbox.session() as session:
            subject = await file_probe(bridge.ctx, session)
        return {"account": account, "subject": subject}

    async def backfill(self, account: str, days: int) -> AsyncIterator[Answer]:
        """File everything of the last `days` days, closed discussions too; yields progress."""
        bridge = self._account(account)
        ctx = bridge.ctx
        yield {"stage": "reading"}
        result = await bridge.sweep.run(SweepKind.FULL, since=timedelta(days=days))
        yield {"stage": "read", "discussions": result.listed, "new": result.opened}
        async with ctx.mailbox.session() as session:
            while True:
                async with ctx.read() as tx:
                    counts = (await tx.tally())["filings"]
                left = counts.get(FilingState.PLANNED, 0) + counts.get(FilingState.WRITING, 0)
                filed = counts.get(FilingState.FILED, 0)
                yield {"stage": "filing", "filed": filed, "left": left}
                if not left or not await bridge.filing.some(session):
                    break
            await bridge.filing.move_threads(session)
        yield {
            "stage": "done",
            "discussions": result.listed,
            "new": result.opened,
            "messages": result.messages,
            "faults": result.faults,
        }

    def _account(self, name: str) -> AccountBridge:
        try:
            return self._accounts[name]
        except KeyError:
            known = ", ".join(self._accounts)
            raise OperationRefused(f"no account {name!r}; there are: {known}") from None

    async def _find(self, discussion: str) -> tuple[AccountBridge, DiscussionRow]:
        """By the thread's short id (as subjects show it) or by the marketplace's number."""
        wanted = discussion.strip().strip("()").lower()
        for bridge in self._accounts.values():
            async with bridge.ctx.read() as tx:
                row = (
                    await tx.discussions.by_short(wanted)
                    or await tx.discussions.get(wanted)
                    or await tx.discussions.by_reference(wanted)
                )
            if row is not None:
                return bridge, row
        raise OperationRefused(
            f"no discussion {discussion!r}; give the id at the end of a thread's subject, such as "
            "CD-3C2E7R, or the marketplace's number"
        )


def _may_leave(bridge: AccountBridge) -> None:
    if not bridge.ctx.config.replies.enabled:
        raise OperationRefused(
            f"account {bridge.ctx.name}: replies are switched off (replies.enabled), "
            "nothing is sent or closed"
        )


async def _retry(tx: Transaction, discussion: str | None) -> int:
    rows = await tx.filings.in_state(FilingState.ASIDE)
    if discussion is not None:
        row = await tx.discussions.by_short(discussion) or await tx.discussions.get(discussion)
        rows = [r for r in rows if row is not None and r.discussion == row.id]
    for filing in rows:
        filing.attempts, filing.due_at = 1, tx.now
        tx.move(
            filing,
            FILING,
            FilingEvent.RETRY,
            discussion=filing.discussion,
            subject=filing.key,
        )
    return len(rows)


def _iso(moment: Any) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
