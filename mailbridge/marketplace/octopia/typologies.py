"""What a discussion is about, in French words: the service's own, else ours.

The service gives codes, and lists of them by channel, state of the order and who asks; its words
are kept for a day. That list is a comfort: where it can't be had, the discussion goes on with
the words below, or with the bare code.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from mailbridge.domain.wording import clean_line
from mailbridge.marketplace.octopia import models
from mailbridge.marketplace.octopia.client import RestClient
from mailbridge.marketplace.port import ContractError, MarketplaceError, RefusedError

__all__ = ["WORDS", "Typologies"]

WORDS: Mapping[str, str] = {
    "missingiteminproduct": "Pièce ou accessoire manquant",
    "missingproductsinorder": "Article manquant dans la commande",
    "orderaddresschangecdiscount": "Changement d'adresse de livraison",
    "orderaddresschange": "Changement d'adresse de livraison",
    "ordercancellation": "Annulation de la commande",
    "ordermodification": "Modification de la commande",
    "ordernotshipped": "Commande non expédiée",
    "ordernotreceived": "Commande non reçue",
    "printreceipt": "Demande de facture",
    "productisdamaged": "Produit endommagé",
    "productisnotworking": "Produit en panne",
    "broken-product": "Produit en panne",
    "wrongproductreceived": "Mauvais produit reçu",
}
"""Ours, by code in lower case; the codes are those that were seen."""

_ABOUT = ("Order", "Offer")
"""Typologies. A list without one named has those about orders only."""
_KEEP = timedelta(days=1)
_AGAIN = timedelta(hours=1)
_NO_SUBJECT = re.compile(r"other|autre|information|question|contact|general", re.IGNORECASE)

log = structlog.get_logger(__name__)


class Typologies:
    """Names of topics, by sales channel; `clock` gives aware times."""

    def __init__(self, client: RestClient, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._clock = clock
        self._names: dict[str, dict[str, str]] = {}
        self._until: dict[str, datetime] = {}
        self._asking = asyncio.Lock()

    async def names(self, channels: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Channel -> code in lower case -> words. Asks once a day; never raises MarketplaceError.

        A code that is in neither list is missing here.
        """
        async with self._asking:
            for channel in channels:
                now = self._clock()
                if channel and self._until.get(channel, now) <= now:
                    await self._ask(channel, now)
        return {channel: {**WORDS, **self._names.get(channel, {})} for channel in channels}

    async def _ask(self, channel: str, now: datetime) -> None:
        items: list[object] = []
        self._until[channel] = now + _KEEP
        for about in _ABOUT:
            query = {"salesChannel": channel, "typologyCode": about}
            try:
                items += await self._client.items("/typologies", query, sized="")
            except MarketplaceError as error:
                # What is refused to-day is refused in an hour as well.
                if not isinstance(error, RefusedError):
                    self._until[channel] = now + _AGAIN
                log.warning("typologies_unread", channel=channel, about=about, error=str(error))
        names = {
            one.sub_typology_code.lower(): clean_line(one.label, 100)
            for one in _read(items)
            if one.label.strip()
        }
        self._names[channel] = {**self._names.get(channel, {}), **names}

    async def of_seller(self, channel: str, order_status: str, wanted: str = "") -> str:
        """The sub-typology with which a seller opens a discussion about an order.

        `wanted` is a configured one. RefusedError where the channel offers none.
        """
        if wanted:
            return wanted
        query = {
            "salesChannel": channel,
            "orderStatus": order_status,
            "typologyCode": "Order",
            "userType": "Seller",
        }
        offered = _read(await self._client.items("/typologies", query, sized=""))
        if not offered:
            raise RefusedError(
                f"the channel {channel} offers sellers no subject for an order that is "
                f"{order_status}"
            )
        broad = [x for x in offered if _NO_SUBJECT.search(f"{x.sub_typology_code} {x.label}")]
        return (broad or offered)[0].sub_typology_code


def _read(items: Sequence[object]) -> list[models.Typology]:
    found = []
    for item in items:
        try:
            found.append(models.read(models.Typology, item, "a typology"))
        except ContractError as error:
            log.warning("typology_unreadable", error=str(error))
    return found
