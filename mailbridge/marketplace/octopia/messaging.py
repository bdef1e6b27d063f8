"""Replies and first messages that the API takes itself: `marketplace.port.Messaging`.

The rule: what the API would refuse (length, files, nobody to answer) is refused before anything
is asked; what is read beforehand and fails left the service without a message, and says so. A
message is posted once. It is posted again the other way only after a 400 that names the field
(`variants`), which says that nothing was taken.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import mimetypes
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from mailbridge.domain.attachment import AttachmentLimits, attachment_fault
from mailbridge.domain.discussion import AuthorKind
from mailbridge.marketplace.octopia import mapping, models
from mailbridge.marketplace.octopia.client import RestClient, path
from mailbridge.marketplace.octopia.errors import ProblemError
from mailbridge.marketplace.octopia.listing import Discussions
from mailbridge.marketplace.octopia.ordering import Orders
from mailbridge.marketplace.octopia.typologies import Typologies
from mailbridge.marketplace.octopia.variants import Question, Variants
from mailbridge.marketplace.patience import NotAskedError, nothing_asked
from mailbridge.marketplace.port import ContractError, File, RefusedError

__all__ = ["ATTACHMENTS", "TEXT_MAX", "TEXT_MIN", "OctopiaMessaging", "changed"]

ATTACHMENTS = AttachmentLimits(
    max_files=3,
    max_total_bytes=4_000_000,
    extensions=frozenset({"bmp", "doc", "docx", "gif", "jpeg", "jpg", "pdf", "png", "tif", "xls"}),
)
TEXT_MIN, TEXT_MAX = 13, 5_000
"""Characters of a message; seen, not documented."""

_SUBJECT_MAX = 200
_RECIPIENTS = {AuthorKind.CUSTOMER: mapping.CUSTOMER, AuthorKind.OPERATOR: mapping.STAFF}


class OctopiaMessaging:
    """Messages of one seller. Implements `marketplace.port.Messaging`."""

    def __init__(
        self,
        client: RestClient,
        discussions: Discussions,
        orders: Orders,
        typologies: Typologies,
        variants: Variants,
        *,
        topic: str = "",
    ) -> None:
        """`topic` is the sub-typology of discussions the seller opens; empty: one is chosen."""
        self._client = client
        self._discussions = discussions
        self._orders = orders
        self._typologies = typologies
        self._variants = variants
        self._topic = topic

    async def send(
        self, discussion_id: str, text: str, files: Sequence[File], *, to: AuthorKind
    ) -> str:
        """POST /messages to one of those the discussion says an answer may go to."""
        body, attachments = _text(text), await asyncio.to_thread(_attachments, files)
        try:
            with nothing_asked():
                whole = await self._discussions.whole(discussion_id)
        except NotAskedError as error:
            raise RefusedError(f"nothing was asked: {error}") from None
        if whole is None:
            raise RefusedError("the service does not know this discussion")
        receiver = _receiver(whole, to)

        async def post(choice: str) -> dict[str, Any]:
            payload: dict[str, Any] = {"discussionId": whole.discussion_id, "body": body}
            if choice == "receivers":
                payload["salesChannel"] = whole.sales_channel
                if number := whole.sales_channel_external_reference.strip():
                    payload["salesChannelExternalDiscussionReference"] = number
                payload["receivers"] = [
                    {"userId": receiver.user_id, "userType": receiver.user_type}
                ]
            else:
                payload["receiver"] = receiver.user_type
            return await self._client.act("POST", "/messages", {**payload, **attachments})

        answer = await self._variants.settle(Question.REPLY, post)
        return _ident(answer, "messageId")

    async def write_first(
        self, order_number: str, subject: str, text: str, files: Sequence[File]
    ) -> str:
        """POST /discussions; empty where the answer names no id.

        RefusedError where the sales channel lets sellers open none.
        """
        body, attachments = _text(text), await asyncio.to_thread(_attachments, files)
        try:
            with nothing_asked():
                order = await self._orders.told(order_number)
                if order is None:
                    raise RefusedError(f"the service does not know the order {order_number}")
                channel = order.sales_channel.id.strip()
                await self._may_open(channel)
                topic = await self._typologies.of_seller(channel, order.status.strip(), self._topic)
        except NotAskedError as error:
            raise RefusedError(f"nothing was asked: {error}") from None

        async def post(choice: str) -> dict[str, Any]:
            whom: dict[str, Any] = (
                {"receivers": [{"userType": mapping.CUSTOMER}]}
                if choice == "receivers"
                else {"receiver": mapping.CUSTOMER}
            )
            payload = {
                "subject": subject.strip()[:_SUBJECT_MAX] or f"Commande {order_number}",
                "orderId": order.order_id,
                "salesChannel": channel,
                "subtypologyCode": topic,
                "message": {"body": body, **whom, **attachments},
            }
            return await self._client.act("POST", "/discussions", payload)

        return _ident(await self._variants.settle(Question.REPLY, post), "discussionId")

    async def files(self, discussion_id: str, message_id: str) -> Sequence[File]:
        """GET /attachments of one message. ContractError where a content is not base64."""
        number = await self._discussions.number(discussion_id)
        told = await self._discussions.attachments(message_id, number)
        return await asyncio.to_thread(lambda: [_file(one, message_id) for one in told])

    async def mark_seen(self, message_ids: Sequence[str]) -> None:
        """PATCH /messages/{id}, one after the other; one that is gone is passed over."""
        for ident in dict.fromkeys(message_ids):
            try:
                await self._variants.settle(Question.PATCH, partial(self._mark, ident))
            except ProblemError as error:
                if error.status not in (404, 410):
                    raise

    async def _mark(self, ident: str, choice: str) -> object:
        read = changed("/hasRead", True, choice)
        return await self._client.act("PATCH", path("messages", ident), read)

    async def _may_open(self, channel: str) -> None:
        def take(data: object) -> object:
            return data.get("isDiscussionCreationAllowed") if isinstance(data, dict) else None

        try:
            allowed = await self._client.read(path("sales-channel-configurations", channel), take)
        except RefusedError:
            return  # not said: the attempt itself will tell
        if allowed is False:
            raise RefusedError(f"the channel {channel} lets sellers open no discussion")


def changed(where: str, value: bool, choice: str) -> list[dict[str, Any]]:
    """A change of one field, in the shape chosen (`variants.Question.PATCH`)."""
    if choice == "op":
        return [{"op": "replace", "path": where, "value": value}]
    return [{"opt": "replace", "path": where, "value": "true" if value else "false"}]


def _text(text: str) -> str:
    body = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(body) < TEXT_MIN:
        raise RefusedError(f"the text is too short: {len(body)} of at least {TEXT_MIN} characters")
    if len(body) > TEXT_MAX:
        raise RefusedError(f"the text is too long: {len(body)} of at most {TEXT_MAX} characters")
    return body


def _attachments(files: Sequence[File]) -> dict[str, Any]:
    fault = attachment_fault([(file.name, len(file.data)) for file in files], ATTACHMENTS)
    if fault is not None:
        raise RefusedError(f"the API does not take these files: {fault[0]} ({fault[1]})")
    if any(not file.data for file in files):
        raise RefusedError("a file is empty")
    sent = [_sent(file) for file in files]
    taken: set[tuple[str, str]] = set()
    for one in sent:
        name, number = one["name"], 2
        while (one["name"].casefold(), one["fileFormat"]) in taken:
            one["name"], number = f"{name}-{number}", number + 1  # telephones call all alike
        taken.add((one["name"].casefold(), one["fileFormat"]))
    return {"attachments": sent} if sent else {}


def _sent(file: File) -> dict[str, str]:
    name, _, ending = file.name.rpartition(".")
    return {
        "content": base64.b64encode(file.data).decode("ascii"),
        "name": name.strip() or "fichier",
        "fileFormat": ending.lower(),
    }


def _receiver(whole: models.Discussion, to: AuthorKind) -> models.Receiver:
    """Whom the message goes to; RefusedError where the discussion names others only."""
    wanted = _RECIPIENTS.get(to)
    if wanted is None:
        _refuse(f"nobody can write to {to}")
    offered = whole.receivers or ()
    for one in offered:
        if one.user_type.strip().lower() == wanted.lower():
            ident = one.user_id or (whole.customer_id if to is AuthorKind.CUSTOMER else "")
            return models.Receiver(user_id=ident, user_type=one.user_type.strip())
    if offered:
        others = ", ".join(one.user_type for one in offered)
        _refuse(f"the marketplace takes no message to {wanted} here now, only to: {others}")
    ident = whole.customer_id if to is AuthorKind.CUSTOMER else ""
    return models.Receiver(user_id=ident, user_type=wanted)


def _refuse(words: str) -> NoReturn:
    raise RefusedError(words)


def _ident(answer: dict[str, Any], key: str) -> str:
    """The id an answer names, written as listings write it."""
    value = answer.get(key) or answer.get("id")
    return str(value).strip() if isinstance(value, str | int) and value is not True else ""


def _file(told: models.Attachment, message_id: str) -> File:
    name = mapping.file_name(told.attachment_name, told.file_format)
    try:
        data = base64.b64decode("".join(told.content.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ContractError(f"message {message_id}: the content of {name} is not base64") from None
    kind, _ = mimetypes.guess_type(name)
    return File(name, kind or "application/octet-stream", data)
