"""Which of several possible services the simulator is.

Sources contradict each other about the Octopia API, or say nothing. Each doubt is a rule here; a
test turns it and sees whether the client still finds its way. A rule may be changed at any time,
the next call keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

__all__ = ["PatchKey", "Rules"]


class PatchKey(StrEnum):
    """How the verb of a patch is spelled."""

    OPT = "opt"
    OP = "op"


@dataclass(slots=True)
class Rules:
    """The defaults are those of the contract that comes with mailbridge."""

    receiver_list: bool = False
    """A message names `receivers`, a list, instead of `receiver`, a word."""
    patch_key: PatchKey = PatchKey.OPT
    cancellation_key: str = "orderSellerId"
    """What a whole cancellation calls the order: this, or `orderId`."""
    shipping_once: bool = False
    """A partial cancellation says `shippingCostRefund` once, instead of with each line."""
    html_bodies: bool = False
    """Bodies are HTML instead of text."""
    announces_files: bool = False
    """Messages name their attachments."""
    newest_first: bool = False
    """Messages of a discussion stand newest first."""
    names_created: bool = True
    """The answer to a POST names what it made; else it is empty."""
    asynchronous_status: int = 201
    """The status that a request for money is taken with: 201 or 202."""
    delegated: bool = True
    """The seller has let this client id act for them. False: 403 to everything."""
    may_open: set[str] = field(default_factory=lambda: {"CDISFR"})
    """Sales channels where sellers may open discussions."""
    closed_takes_messages: bool = True
    """A message may be sent in a closed discussion; it stays closed."""
    token_life: timedelta = timedelta(hours=2)
    tells_life: bool = True
    """The token's answer has `expires_in`."""
    token_quota: int = 500
    """Tokens an hour; the one published limit."""
    page_size: int = 25
    """Where the request names none."""
    request_lag: timedelta | None = None
    """How long a request for money stays pending; None: as long as the books' money takes."""
