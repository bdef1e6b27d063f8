"""`mailbridge templates`: what there is, what it says, and whether it would work.

All of it needs the configuration only: no daemon, no journal, nothing connected to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from mailbridge.adapters import composer_for, identity_for
from mailbridge.bridge.templates import fault_words, fill_one
from mailbridge.config.models import Account, Config
from mailbridge.domain.command import Command
from mailbridge.domain.vocabulary import Verb
from mailbridge.mail.frame import frame_for
from mailbridge.mail.rendering import TemplateBroken
from mailbridge.mail.reply_catalogue import ReplyTemplate, Unknown
from mailbridge.mail.reply_samples import sample_case, stand_ins, try_replies
from mailbridge.ops.control import CommandFailed

__all__ = ["Desk"]

Answer = dict[str, Any]


class Desk:
    """The reply templates as one account's agents have them."""

    def __init__(self, config: Config, account: str | None = None) -> None:
        """`account` None is the first one; raises CommandFailed for one that is not there."""
        name = account or next(iter(config.accounts))
        if name not in config.accounts:
            raise CommandFailed(f"no account {name!r}; there are: {', '.join(config.accounts)}")
        self._account: Account = config.accounts[name]
        # The key only signs ids, and none is made here.
        self._identity = identity_for(name, self._account, (b"a key that signs nothing here",))
        self._composer = composer_for(config, name, self._account, self._identity)
        self._catalogue = self._composer.catalogue
        self._zone = ZoneInfo(self._account.timezone)

    def listing(self) -> Answer:
        """Every template that can be used, and what is wrong with others."""
        listing = self._catalogue.listed()
        return {
            "templates": [_told(template) for template in listing.templates],
            "faults": [str(fault) for fault in listing.faults],
        }

    def tried(self) -> Answer:
        """The same, each one tried on invented cases."""
        faults = try_replies(self._catalogue, self._identity, self._zone)
        return {**self.listing(), "faults": [str(fault) for fault in faults]}

    def shown(self, name: str) -> Answer:
        """One template with its source; raises CommandFailed."""
        template = self._found(name)
        folders = self._catalogue.templates.folders
        path = next(p for folder in folders if (p := folder / template.file).is_file())
        told = {**_told(template), "path": str(path), "source": path.read_text(encoding="utf-8")}
        return {"templates": [told], "faults": []}

    def sampled(self, name: str, values: Mapping[str, str]) -> Answer:
        """One template for an invented order, what must be given and is not as `…`."""
        template = self._found(name)
        sender = next((person.address for person in self._account.staff), "")
        frame = frame_for(self._account, sender)
        made = fill_one(
            self._catalogue,
            self._zone,
            Command(Verb.TEMPLATE, name, name, {**stand_ins(template), **values}),
            sample_case(frame.shop, agent=frame.agent),
            hello=not frame.greeting.text.strip(),
            bye=not frame.signature.text.strip(),
            has_order=True,
        )
        if isinstance(made, tuple):
            raise CommandFailed(fault_words(made))
        return {"template": template.name, "closes": template.closes, "text": made.text}

    def _found(self, name: str) -> ReplyTemplate:
        try:
            found = self._catalogue.find(name)
        except TemplateBroken as broken:
            raise CommandFailed(str(broken)) from None
        if isinstance(found, Unknown):
            near = f"; did you mean {', '.join(found.near)}?" if found.near else ""
            raise CommandFailed(f"there is no template {name!r}{near}")
        return found


def _told(template: ReplyTemplate) -> Answer:
    return {
        "name": template.name,
        "title": template.title,
        "language": template.language,
        "needs": sorted(template.needs),
        "closes": template.closes,
        "own": template.own,
        "variables": [
            {
                "name": variable.name,
                "say": variable.say,
                "required": variable.default is None and not variable.source,
                "from": variable.source,
                "default": variable.default,
            }
            for variable in template.variables
        ],
    }
