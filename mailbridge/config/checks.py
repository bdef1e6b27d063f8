"""What must hold between keys, beyond what each key allows by itself: accounts and their mail.

`check` looks at a whole configuration and writes into a `Book` what cannot work and what is
unwise; the part about servers and this machine is in `servers`. Nothing is connected to; of the
disk only existence is read.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
import zoneinfo
from datetime import timedelta
from pathlib import Path

from jinja2 import TemplateSyntaxError, meta
from jinja2.sandbox import SandboxedEnvironment

from mailbridge.config import servers, shape
from mailbridge.config.book import Book
from mailbridge.config.kinds import duration_text
from mailbridge.config.lines import Path as KeyPath
from mailbridge.config.marketplaces import SHIPPED_WSDL, Cdiscount, Octopia
from mailbridge.config.models import Account, Config, MailboxLayout, Replies, ReplyMode, Sweeps
from mailbridge.domain.money import Cause
from mailbridge.domain.vocabulary import Vocabulary

__all__ = ["COMMANDS", "ID_DOMAIN_MAX", "PLUS_LOCAL_MAX", "check"]

COMMANDS = ("close", "reopen", "note", "template", "send", "resend", "cancel", "help")
"""The commands that can be given further words."""

ID_DOMAIN_MAX = 28
"""Characters. `<m.SHORT.KEY.TAG@` and `>` take 50 with a short id of 11 and a key of 16; longer
than 78 a Message-ID is folded by some clients, and then no longer found in their In-Reply-To."""

PLUS_LOCAL_MAX = 27
"""Characters. `+mb-SHORT-TAG` takes 37 with the longest short id; RFC 5321 4.5.3.1.1 ends local
parts at 64."""

_IN_FRAMES = frozenset({"agent", "customer", "marketplace", "shop"})
"""What a greeting or signature may show (see `mail.compose.Composer.frame`)."""

_LAG = timedelta(minutes=57)
"""The longest the marketplace was seen to hide a message after the message's own time."""

_ACCOUNT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")

# Last parts of folder names, folded; what servers and clients call these in French and English.
_DRAFTS = frozenset({"drafts", "draft", "brouillons", "brouillon"})
_TRASH = frozenset(
    {"trash", "bin", "deleted items", "deleted messages", "corbeille", "elements supprimes"}
)
_ALL = frozenset({"all mail", "tous les messages"})


def check(config: Config, book: Book) -> None:
    """Write everything that is wrong or unwise between the keys of `config` into `book`."""
    servers.check(config, book)
    for name, account in config.accounts.items():
        at: KeyPath = ("accounts", name)
        if not _ACCOUNT.fullmatch(name):
            book.mistake(
                at, "not a name; allowed: small letters, digits and hyphens, at most 32 characters"
            )
        _account(account, at, book)
        _mailbox(account.mailbox, at, book)
        _replies(account.replies, account, at, book)
        _words(account.replies, (*at, "replies", "commands"), book)
        _money(account, (*at, "money"), book)
        _sweeps(account.sweeps, (*at, "sweeps"), book)
        _acknowledgement(account, (*at, "acknowledgement"), book)
    _between_accounts(config, book)


def _account(account: Account, at: KeyPath, book: Book) -> None:
    if account.timezone not in zoneinfo.available_timezones():
        near = difflib.get_close_matches(account.timezone, zoneinfo.available_timezones(), n=1)
        book.mistake(
            (*at, "timezone"),
            f'no time zone is called "{account.timezone}"; '
            + (f"did you mean {near[0]}?" if near else 'allowed: a name such as "Europe/Paris"'),
        )
    _market(account, at, book)


def _market(account: Account, at: KeyPath, book: Book) -> None:
    match account.marketplace:
        case Octopia() as market:
            _octopia(market, (*at, "marketplace"), book)
        case Cdiscount() as market:
            _cdiscount(market, account, at, book)


def _octopia(market: Octopia, at: KeyPath, book: Book) -> None:
    causes = [str(cause) for cause in Cause]
    for cause in market.refund_reasons:
        if cause not in causes:
            near = difflib.get_close_matches(cause.lower(), causes, n=1, cutoff=0.6)
            book.mistake(
                (*at, "refund_reasons", cause),
                "no such cause; "
                + (f"did you mean {near[0]}?" if near else "allowed: " + ", ".join(causes)),
            )


def _cdiscount(market: Cdiscount, account: Account, at: KeyPath, book: Book) -> None:
    if not any(name.strip() for name in account.shop_names):
        book.warning(
            (*at, "shop_names"),
            "is empty: where the marketplace sends only a name, the shop's own messages cannot be "
            "told from the customer's",
        )
    if not market.login.endswith("-api"):
        book.warning(
            (*at, "marketplace", "login"),
            "Cdiscount's API accounts end in -api; the web page's login does not work",
        )
    named = market.wsdl in SHIPPED_WSDL or "://" in market.wsdl
    if not named and not Path(market.wsdl).is_file():
        book.mistake(
            (*at, "marketplace", "wsdl"),
            f'there is no file {market.wsdl}; allowed: "builtin", "builtin-2020", a URL, or the '
            "path of a file",
        )


def _money(account: Account, at: KeyPath, book: Book) -> None:
    money = account.money
    if not money.enabled:
        return
    limits = {"most": money.most, "most_per_order": money.most_per_order}
    limits["most_per_day"] = money.most_per_day
    for name, limit in limits.items():
        if limit is None:
            book.mistake(
                (*at, name),
                "is missing; enabled = true needs a limit in euros, such as 150",
                (*at, "enabled"),
            )
        elif limit == 0:
            book.mistake((*at, name), "is 0, so that nothing could ever be refunded")
    if money.most and money.most_per_order and money.most > money.most_per_order:
        book.mistake(
            (*at, "most"),
            "is more than most_per_order; it must not be more",
            (*at, "most_per_order"),
        )
    if money.most_per_order and money.most_per_day and money.most_per_order > money.most_per_day:
        book.mistake(
            (*at, "most_per_order"),
            "is more than most_per_day; it must not be more",
            (*at, "most_per_day"),
        )
    if not account.replies.enabled:
        book.warning(
            (*at, "enabled"),
            "is on, but replies.enabled is off: commands in mails are not obeyed",
        )


def _acknowledgement(account: Account, at: KeyPath, book: Book) -> None:
    if account.acknowledgement is not None and not account.replies.enabled:
        book.warning(
            at,
            "is there, but replies.enabled is off: nothing is acknowledged",
            (*at[:-1], "replies", "enabled"),
        )


def _mailbox(box: MailboxLayout, account: KeyPath, book: Book) -> None:
    at = (*account, "mailbox")
    address, mode, reply = (*at, "address"), (*at, "reply_mode"), (*at, "reply_address")
    match box.reply_mode, box.reply_address:
        case ((ReplyMode.ALIAS | ReplyMode.CATCHALL), None):
            which = (
                "one more address that ends in this mailbox"
                if box.reply_mode is ReplyMode.ALIAS
                else "an address in a domain of which everything ends in this mailbox"
            )
            book.mistake(reply, f'is missing; reply_mode = "{box.reply_mode}" needs {which}', mode)
        case ReplyMode.ALIAS, str(alias) if alias.lower() == box.address.lower():
            book.mistake(
                reply,
                "is the mailbox's own address; replies could not be told from customers' mails; "
                "allowed: another address that ends in this mailbox",
                mode,
                address,
            )
        case ReplyMode.PLUS, str():
            book.warning(reply, 'is not used with reply_mode = "plus"; did you mean "alias"?', mode)
    for place, alias in enumerate(box.former_aliases):
        if alias.lower() == box.address.lower():
            book.mistake(
                (*at, "former_aliases", place),
                "is the mailbox's own address; replies could not be told from customers' mails; "
                "allowed: addresses that were reply_address once",
                address,
            )
    local, _, domain = box.address.rpartition("@")
    if box.reply_mode is ReplyMode.PLUS and len(local) > PLUS_LOCAL_MAX:
        book.mistake(
            address,
            f'has {len(local)} characters before the @; with reply_mode = "plus" at most '
            f"{PLUS_LOCAL_MAX}, so that a discussion's address is not longer than 64; use "
            '"catchall" or "alias"',
            mode,
        )
    name = box.id_domain or f"mb.{domain}"
    if ":" in name or name.replace(".", "").isdigit():
        book.mistake((*at, "id_domain"), f'found "{name}"; allowed: a domain of yours', address)
    elif len(name) > ID_DOMAIN_MAX:
        book.mistake(
            (*at, "id_domain"),
            f"{name} has {len(name)} characters; allowed: at most {ID_DOMAIN_MAX}, so that "
            "Message-IDs fit a line; take a shorter domain of yours",
            address,
        )
    _folders(box, at, book)


def _folders(box: MailboxLayout, at: KeyPath, book: Book) -> None:
    folder, closed, trash = (*at, "folder"), (*at, "closed_folder"), (*at, "trash_folder")
    if _folder(box.folder) == _folder(box.closed_folder):
        book.mistake(
            closed,
            "is the folder threads are filed in; allowed: another, created if needed",
            folder,
        )
    elif _folder(box.closed_folder) == "INBOX":
        book.mistake(closed, "is the inbox; allowed: a folder of its own, created if needed")
    for key, name in ((folder, box.folder), (closed, box.closed_folder)):
        kind = _kind(name)
        if kind:
            book.mistake(key, f'"{name}" is for {kind}; allowed: a folder of its own')
        if box.trash_folder is not None and _folder(name) == _folder(box.trash_folder):
            book.mistake(trash, f"is {key[-1]} too; allowed: the mailbox's trash", key)
    seen: set[str] = set()
    for place, name in enumerate(box.sent_folders):
        one = (*at, "sent_folders", place)
        kind = _kind(name)
        others = {
            _folder(box.folder): "where threads are filed",
            _folder(box.closed_folder): "where closed threads are",
            _folder(box.trash_folder or ""): "the trash",
            "INBOX": "the inbox, which is looked at anyway",
        }
        if kind:
            book.mistake(
                one, f'"{name}" is for {kind}; allowed: folders where clients keep sent mails'
            )
        elif _folder(name) in others:
            book.mistake(
                one,
                f'"{name}" is {others[_folder(name)]}; allowed: folders where clients keep sent '
                "mails",
                folder,
                closed,
                trash,
            )
        elif _folder(name) in seen:
            book.mistake(one, f'"{name}" stands there twice')
        seen.add(_folder(name))


def _replies(replies: Replies, account: Account, at: KeyPath, book: Book) -> None:
    here, staff = (*at, "replies"), (*at, "staff")
    if replies.enabled and not account.staff:
        book.mistake(
            staff,
            "is missing; replies are on, and nobody may write them; add "
            f"[[{shape.dotted(staff)}]] with an address for each agent",
            (*here, "enabled"),
        )
    known: dict[str, int] = {}
    for place, person in enumerate(account.staff):
        first = known.setdefault(person.address.lower(), place)
        if first != place:
            book.mistake(
                (*staff, place, "address"),
                f"{person.address} stands there twice (staff[{first + 1}] has it); allowed: once",
                (*staff, first, "address"),
            )
    trust = account.trust
    if replies.enabled and not (trust.sent_copy or trust.authserv_ids or trust.exchange_internal):
        book.warning(
            (*at, "trust"),
            "names no evidence of origin: every reply will be held until its code is given",
            (*here, "enabled"),
        )
    if replies.sender is not None:
        home = account.mailbox.address.rpartition("@")[2]
        domain = replies.sender.rpartition("@")[2]
        if domain != home:
            book.warning(
                (*here, "sender"),
                f"is not of the mailbox's domain {home}: the submission server must be allowed to "
                f"send for {domain} (SPF, DKIM), and the marketplace must know the address",
                (*at, "mailbox", "address"),
            )
    if replies.delay >= replies.max_age:
        book.mistake(
            (*here, "delay"),
            "is not shorter than max_age: every reply would be too old",
            (*here, "max_age"),
        )
    _frame(replies.greeting, (*here, "greeting"), book)
    _frame(replies.signature, (*here, "signature"), book)
    for place, person in enumerate(account.staff):
        _frame(person.greeting or "", (*staff, place, "greeting"), book)
        _frame(person.signature or "", (*staff, place, "signature"), book)


def _frame(text: str, at: KeyPath, book: Book) -> None:
    """That a greeting or signature can be rendered, as far as that shows without a customer."""
    env = SandboxedEnvironment()
    try:
        strange = meta.find_undeclared_variables(env.parse(text)) - env.globals.keys()
    except TemplateSyntaxError as error:
        line = f", line {error.lineno} of the text" if error.lineno > 1 else ""
        book.mistake(at, f"not a Jinja2 template{line}: {error.message}")
        return
    for name in sorted(strange - _IN_FRAMES):
        allowed = ", ".join(sorted(_IN_FRAMES))
        book.mistake(at, f"nothing gives a value to {{{{ {name} }}}}; allowed: {allowed}")


def _words(replies: Replies, at: KeyPath, book: Book) -> None:
    vocabulary = Vocabulary.default()
    for command, further in replies.commands.items():
        if command not in COMMANDS:
            near = difflib.get_close_matches(command.lower(), COMMANDS, n=1, cutoff=0.7)
            book.mistake(
                (*at, command),
                "no such command; "
                + (f"did you mean {near[0]}?" if near else "allowed: " + ", ".join(COMMANDS)),
            )
            continue
        for place, word in enumerate(further):
            try:
                vocabulary = vocabulary.with_words({command: (word,)})
            except ValueError as error:
                what = str(error).partition(": ")[2]
                book.mistake(
                    (*at, command, place),
                    f"{what}; allowed: a single word that is no command yet",
                )


def _sweeps(sweeps: Sweeps, at: KeyPath, book: Book) -> None:
    kinds = ("quick", "wide", "full")
    for kind in kinds:
        every: timedelta = getattr(sweeps, f"{kind}_every")
        window: timedelta = getattr(sweeps, f"{kind}_window")
        if window <= every:
            book.mistake(
                (*at, f"{kind}_window"),
                f"is not longer than {kind}_every ({duration_text(every)}): messages would fall "
                "between two sweeps",
                (*at, f"{kind}_every"),
            )
    for shorter, longer in (("quick", "wide"), ("wide", "full")):
        for key in ("every", "window"):
            low: timedelta = getattr(sweeps, f"{shorter}_{key}")
            high: timedelta = getattr(sweeps, f"{longer}_{key}")
            if low > high:
                book.mistake(
                    (*at, f"{longer}_{key}"),
                    f"is shorter than {shorter}_{key} ({duration_text(low)})",
                    (*at, f"{shorter}_{key}"),
                )
    if sweeps.quick_every < sweeps.quick_window < 1.5 * _LAG:
        book.warning(
            (*at, "quick_window"),
            f"messages were seen to appear {duration_text(_LAG)} late; below 1h30m they wait for "
            "the wide sweep",
            (*at, "quick_every"),
        )


def _between_accounts(config: Config, book: Book) -> None:
    """Two accounts must not touch the same mails, nor show the same discussions twice.

    Accounts may share a mailbox if each has a folder of its own: addresses and Message-IDs are
    bound to the account. In one folder each would see the other's threads as forgeries.
    """
    enabled = {name: account for name, account in config.accounts.items() if account.enabled}
    if not enabled:
        book.mistake(("accounts",), "no account is enabled")
    folders: dict[tuple[object, ...], str] = {}
    aliases: dict[str, str] = {}
    logins: dict[tuple[str, str], str] = {}
    for name, account in enabled.items():
        at: KeyPath = ("accounts", name)
        box, imap = account.mailbox, account.imap
        user = (imap.user or box.address).lower()
        rests = ((*at, "imap", "host"), (*at, "imap", "user"), (*at, "mailbox", "address"))
        for key, folder in (("folder", box.folder), ("closed_folder", box.closed_folder)):
            other = folders.setdefault((imap.host, imap.port, user, _folder(folder)), name)
            if other != name:
                book.mistake(
                    (*at, "mailbox", key),
                    f'"{folder}" of this mailbox belongs to account {other}; allowed: a folder for '
                    "each account",
                    *rests,
                )
        fixed = {
            (*at, "mailbox", "former_aliases", place): alias
            for place, alias in enumerate(box.former_aliases)
        }
        if box.reply_mode is ReplyMode.ALIAS and box.reply_address is not None:
            fixed[*at, "mailbox", "reply_address"] = box.reply_address
        for where, alias in fixed.items():
            other = aliases.setdefault(alias.lower(), name)
            if other != name:
                book.mistake(
                    where,
                    f"is the reply address of account {other}; allowed: an alias for each account",
                    (*at, "mailbox", "reply_mode"),
                )
        key, url, login = _seller(account)
        other = logins.setdefault((account.marketplace.endpoint, login.lower()), name)
        if other != name:
            book.mistake(
                (*at, "marketplace", key),
                f"is bridged by account {other} already; customers would be answered twice",
                (*at, "marketplace", url),
            )


def _seller(account: Account) -> tuple[str, str, str]:
    """Which seller an account is for: (its key, the key of the service's address, the seller)."""
    match account.marketplace:
        case Octopia(seller_id=seller):
            return "seller_id", "api_url", seller
        case Cdiscount(login=login):
            return "login", "service_url", login


def _folder(name: str) -> str:
    """RFC 3501 5.1: INBOX in any case is the inbox; all other names are taken as they are."""
    return "INBOX" if name.upper() == "INBOX" else name


def _kind(name: str) -> str | None:
    """What a folder is surely for, by its name: `drafts`, `trash`, `everything`; else None."""
    last = _plain(re.split(r"[./]", name)[-1])
    for kind, names in (("drafts", _DRAFTS), ("the trash", _TRASH), ("every mail", _ALL)):
        if last in names:
            return kind
    return None


def _plain(text: str) -> str:
    """Without case and accents."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
