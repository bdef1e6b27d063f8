"""The frame around an answer: the greeting before it and the signature below it.

A staff identity's own stands before that of all answers, and an empty one means none. Each part
knows its key in the configuration, which is how its mistakes are told.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailbridge.config.models import Account

__all__ = ["Frame", "FramePart", "frame_for", "shop_name"]


@dataclass(frozen=True, slots=True)
class FramePart:
    """A Jinja2 text and the key it stands under, below the account's table."""

    text: str
    key: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the answers of one person."""

    greeting: FramePart
    signature: FramePart
    agent: str = ""
    """Who answers, as the configuration names them."""
    shop: str = ""


def frame_for(account: Account, sender: str) -> Frame:
    """The frame of answers from this address; the account's own for one that is not staff's."""
    replies = account.replies
    greeting = FramePart(replies.greeting, "replies.greeting")
    signature = FramePart(replies.signature, "replies.signature")
    shop = shop_name(account)
    for place, person in enumerate(account.staff, 1):
        if person.address.lower() != sender.lower():
            continue
        if person.greeting is not None:
            greeting = FramePart(person.greeting, f"staff[{place}].greeting")
        if person.signature is not None:
            signature = FramePart(person.signature, f"staff[{place}].signature")
        return Frame(greeting, signature, person.name, shop)
    return Frame(greeting, signature, "", shop)


def shop_name(account: Account) -> str:
    """The name customers know the shop by, empty where none is configured."""
    return account.replies.sender_name or next(iter(account.shop_names), "")
