"""`OctopiaMarketplace`: the port of `marketplace.port`, spoken to the Octopia Seller REST API.

The rule: this file puts the parts together and keeps what belongs to none of them: closing,
reopening and the check. How discussions are listed, orders read and messages sent is in the
modules beside it. What a maintainer must know of the service is in docs/octopia.md. One object
serves one account and belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

import httpx
import structlog

from mailbridge.domain.discussion import AuthorKind, Discussion
from mailbridge.domain.money import Movement
from mailbridge.domain.order import Order
from mailbridge.marketplace.octopia import mapping, models
from mailbridge.marketplace.octopia.client import RestClient, path
from mailbridge.marketplace.octopia.errors import ProblemError
from mailbridge.marketplace.octopia.listing import Discussions
from mailbridge.marketplace.octopia.messaging import (
    ATTACHMENTS,
    TEXT_MAX,
    TEXT_MIN,
    OctopiaMessaging,
    changed,
)
from mailbridge.marketplace.octopia.money import RULES
from mailbridge.marketplace.octopia.ordering import Orders
from mailbridge.marketplace.octopia.token import ClientTokens
from mailbridge.marketplace.octopia.typologies import Typologies
from mailbridge.marketplace.octopia.variants import Question, Variants
from mailbridge.marketplace.patience import NotAskedError, nothing_asked
from mailbridge.marketplace.port import (
    Capabilities,
    CloseAnswer,
    ItemResult,
    Listing,
    MarketplaceError,
    RefusedError,
    RelayAnswer,
    RelayStatus,
    ReplyChannel,
    Window,
)
from mailbridge.marketplace.wire import SIZE_LIMIT, Wire

__all__ = ["API_URL", "TOKEN_URL", "OctopiaMarketplace"]

API_URL = "https://api.octopia-io.net/seller/v2"
TOKEN_URL = "https://auth.octopia-io.net/auth/realms/maas/protocol/openid-connect/token"  # noqa: S105

_CAPABILITIES = Capabilities(
    reply_channel=ReplyChannel.API,
    can_reopen=True,
    message_ids=True,
    author_kinds=frozenset(AuthorKind),
    incoming_attachments=True,
    outgoing_attachments=ATTACHMENTS,
    text_min=TEXT_MIN,
    text_max=TEXT_MAX,
    money=RULES,
)
# What closing demands is not on record; these are words a refusal could have, French or English.
# "Already" alone says nothing: a cancellation that was asked for already keeps one open.
_ALREADY = re.compile(r"already (?:been )?closed|d[ée]j[àa] (?:été |ete )?(?:cl[oô]|ferm)")
_CANCEL = re.compile(r"cancel|annul")
_LAST_WORD = re.compile(r"last (?:answer|message)|not (?:been )?answer|unanswered|r[ée]pon[ds]")

log = structlog.get_logger(__name__)


class OctopiaMarketplace:
    """One seller's account. Implements `marketplace.port.Marketplace`."""

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: Callable[[], Awaitable[str]],
        seller_id: str,
        clock: Callable[[], datetime],
        api_url: str = API_URL,
        token_url: str = TOKEN_URL,
        sales_channels: Sequence[str] = (),
        variants: Mapping[str, str] | None = None,
        learnt: Mapping[str, str] | None = None,
        on_variant: Callable[[str, str], None] | None = None,
        refund_reasons: Mapping[str, str] | None = None,
        topic: str = "",
        timeout: float = 60.0,
        size_limit: int = SIZE_LIMIT,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`timeout` is seconds for one call; `clock` gives aware times.

        `variants` are the operator's answers to `variants.Question`, `learnt` what an earlier
        object told `on_variant` (question, choice). `client_secret` is asked at each sign-in.
        `sales_channels` empty: all. `refund_reasons` maps a `Cause` to the API's reason, `topic`
        is the sub-typology of discussions the seller opens.
        """
        self._clock = clock
        self._wire = Wire(timeout=timeout, size_limit=size_limit, transport=transport)
        self._tokens = ClientTokens(
            self._wire, token_url=token_url, client_id=client_id, secret=client_secret, clock=clock
        )
        self._client = RestClient(
            wire=self._wire,
            tokens=self._tokens,
            api_url=api_url,
            seller_id=seller_id,
            within=timeout / 2,
            sleep=sleep,
            secrets=(client_id,),
        )
        self._variants = Variants(variants or {}, learnt or {}, on_variant)
        typologies = Typologies(self._client, clock)
        self._discussions = Discussions(
            self._client, typologies, channels=sales_channels, clock=clock
        )
        self._orders = Orders(
            self._client, self._variants, channels=sales_channels, reasons=refund_reasons or {}
        )
        self._messaging = OctopiaMessaging(
            self._client,
            self._discussions,
            self._orders,
            typologies,
            self._variants,
            topic=topic,
        )

    @property
    def capabilities(self) -> Capabilities:
        """Replies by API, message ids, files both ways, reopening, requests for money."""
        return _CAPABILITIES

    @property
    def messaging(self) -> OctopiaMessaging:
        """Replies and first messages."""
        return self._messaging

    @property
    def learnt(self) -> Mapping[str, str]:
        """Variants that are not the defaults: to be handed in as `learnt` after a restart."""
        return self._variants.learnt

    @property
    def order_faults(self) -> Mapping[str, str]:
        """By the number asked for, or the order's id."""
        return self._orders.faults.words

    async def check(self) -> str:
        """Sign in, list the last day, and learn how changes are written; one line.

        The change is to mark a message as read that is read already.
        """
        await self._client.read("/sellers", lambda _: None)
        now = self._clock()
        found = await self.discussions(Window(now - timedelta(days=1), now))
        line = f"signed in; {len(found.discussions)} discussion(s) changed since yesterday"
        if found.faults:
            line += f"; {len(found.faults)} fault(s): {next(iter(found.faults.values()))}"
        seen = [m.ident for d in found.discussions for m in d.messages if m.seen and m.ident]
        if seen and not self._variants.is_proven(Question.PATCH):
            try:
                await self._messaging.mark_seen(seen[-1:])
            except MarketplaceError as error:
                line += f"; marking a message as read failed: {error}"
        return "; ".join([f"{line}; variants: {self._variants}", *self._variants.changes])

    async def discussions(self, window: Window) -> Listing:
        """All discussions changed in the window; one that can't be read is a fault."""
        return _told(await self._discussions.changed(window))

    async def read_again(self, known: Sequence[Discussion]) -> Listing:
        """These discussions by their ids."""
        return _told(await self._discussions.again([one.id for one in known]))

    async def relay_addresses(self, discussion_ids: Sequence[str]) -> Mapping[str, RelayAnswer]:
        """None: replies go through `messaging`."""
        return dict.fromkeys(discussion_ids, RelayAnswer(RelayStatus.NOT_FOUND, None))

    async def relay_address_for_order(self, order_number: str) -> str | None:
        """None: replies go through `messaging`."""
        return None

    async def orders(self, numbers: Sequence[str]) -> Mapping[str, Order]:
        """Orders by id or reference; ContractError if none of them could be read."""
        return await self._orders.of(numbers)

    async def changed_orders(self, window: Window) -> Sequence[Order]:
        """Orders changed in the window; one that can't be read is left out and logged."""
        return await self._orders.changed(window)

    async def discussions_of_orders(self, numbers: Sequence[str]) -> Listing:
        """Discussions about these orders since they were made; unknown orders have none."""
        known = await self._orders.of(numbers)
        return _told(
            await self._discussions.of_orders(
                {one.number: one.created_at for one in known.values()}
            )
        )

    async def order_for_money(self, number: str) -> Order | None:
        """The order with its requests and the gesture still allowed; all of it, or an error."""
        return await self._orders.for_money(number)

    def call_of(self, movement: Movement) -> str:
        """Method and path."""
        return self._orders.call_of(movement)

    async def move_money(self, movement: Movement) -> Mapping[str, ItemResult]:
        """Ask for a movement: PENDING, or an error."""
        return await self._orders.move(movement)

    async def close(self, discussion_ids: Sequence[str]) -> Mapping[str, CloseAnswer]:
        """Close one after the other; each is read first, so that a closed one is not asked."""
        return {ident: await self._close(ident) for ident in dict.fromkeys(discussion_ids)}

    async def reopen(self, discussion_id: str) -> None:
        """Reopen, unless it is open; RefusedError where it is unknown or stays closed."""
        whole = await self._known(discussion_id)
        if whole is None:
            raise RefusedError("the service does not know this discussion")
        if whole.is_open is not True and not await self._set_open(discussion_id, True):
            raise RefusedError("the service took the request, but the discussion stays closed")

    async def aclose(self) -> None:
        """Give up a sign-in under way and close every connection."""
        await self._tokens.aclose()
        await self._wire.aclose()

    async def _known(self, ident: str) -> models.Discussion | None:
        try:
            with nothing_asked():
                return await self._discussions.whole(ident)
        except NotAskedError as error:
            raise RefusedError(f"nothing was asked: {error}") from None

    async def _close(self, ident: str) -> CloseAnswer:
        whole = await self._known(ident)
        if whole is None:
            return CloseAnswer.NOT_FOUND
        if whole.is_open is False:
            return CloseAnswer.ALREADY_CLOSED
        try:
            done = await self._set_open(ident, False)
        except ProblemError as error:
            answer = _why_not_closed(error, whole)
            if answer is None:
                raise
            log.info("close_refused", discussion=ident, answer=str(answer), words=str(error))
            return answer
        return CloseAnswer.CLOSED if done else CloseAnswer.UNKNOWN

    async def _set_open(self, ident: str, value: bool) -> bool:
        """Ask for it; False if the service said yes and then shows that nothing changed.

        A service that passes over a key it does not know would say yes to every change, so the
        first one is looked at afterwards.
        """
        await self._variants.settle(
            Question.PATCH,
            lambda choice: self._client.act(
                "PATCH", path("discussions", ident), changed("/isOpen", value, choice)
            ),
        )
        if self._variants.is_proven(Question.PATCH):
            return True
        after = await self._discussions.whole(ident)
        if after is None or after.is_open is not value:
            log.warning("octopia_change_without_effect", discussion=ident, is_open=value)
            return False
        self._variants.prove(Question.PATCH)
        return True


def _why_not_closed(error: ProblemError, whole: models.Discussion) -> CloseAnswer | None:
    """By the refusal's words, else by who wrote last; None: only the words can tell a person."""
    if error.status in (404, 410):
        return CloseAnswer.NOT_FOUND
    if _ALREADY.search(error.words):
        return CloseAnswer.ALREADY_CLOSED
    if _CANCEL.search(error.words):
        return CloseAnswer.CANCEL_PENDING
    if _LAST_WORD.search(error.words):
        return CloseAnswer.LAST_ANSWER_NOT_OURS
    if error.status in (409, 422) and whole.messages:
        last = max(whole.messages, key=lambda one: one.created_at.at)
        if mapping.author_kind(last.sender, whole) is not AuthorKind.SELLER:
            return CloseAnswer.LAST_ANSWER_NOT_OURS
    return None


def _told(found: Listing) -> Listing:
    for key, words in found.faults.items():
        log.warning("listing_fault", discussion=key, error=words)
    return found
