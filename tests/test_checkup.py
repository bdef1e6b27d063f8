"""`mailbridge check` on a shop whose servers are real, and broken one at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailbridge.bridge.operations import Operations
from mailbridge.bridge.probe import Proof
from mailbridge.checkup import Finding, State, check, machine, services
from mailbridge.checkup.finding import Notes
from mailbridge.checkup.mailbox import Trace, mailbox
from mailbridge.checkup.replies import replies
from mailbridge.config.loader import Loaded
from mailbridge.daemon import bridges
from mailbridge.ops.control import CommandFailed, ControlServer
from mailbridge.ops.lock import InstanceLock
from mailbridge.ops.redaction import Redactor
from mailbridge.sandbox.clock import wall_clock
from mailbridge.sandbox.mailserver import Provider
from mailbridge.service import perform, socket_path
from tests.desk import Desk, open_desk
from tests.dovecot import Dovecot
from tests.mail.imap_peer import LOGOUT, ImapPeer, opening
from tests.requirements import find_tool

UNIT = Path(__file__).parents[1] / "systemd" / "mailbridge.service"


@pytest.fixture
def desk() -> Iterator[Desk]:
    with open_desk() as one:
        yield one


class Told:
    """What a check found, to be asked."""

    def __init__(self, findings: list[Finding]) -> None:
        self.all = findings

    def __getitem__(self, place: str) -> Finding:
        """`shop/mailbox: sign-in`; there is exactly one."""
        part, _, what = place.partition(": ")
        found = [f for f in self.all if f.part == part and f.what == what]
        assert len(found) == 1, (place, [(f.part, f.what, f.words) for f in self.all])
        return found[0]

    def bad(self) -> set[str]:
        return {f"{f.part}: {f.what}" for f in self.all if f.bad}

    def places(self) -> set[str]:
        return {f"{f.part}: {f.what}" for f in self.all}


async def checked(loaded: Loaded, account: str | None = None, probe: bool = False) -> Told:
    return Told(await check(loaded, account=account, probe=probe))


# --- all is well ------------------------------------------------------------------------------


async def test_a_shop_in_which_all_works(desk: Desk) -> None:
    async with desk.world() as world:
        world.cast.claim(text="Où est mon colis ?")
        told = await checked(desk.load())
        assert told.bad() == set()
        assert {f.part for f in told.all} == {
            "configuration",
            "machine",
            "journal",
            "unit",
            "alerts",
            "shop/marketplace",
            "shop/mailbox",
            "shop/sending",
            "shop/templates",
            "shop/replies",
        }
        assert "1 discussion(s) changed since yesterday" in told["shop/marketplace: service"].words
        assert told["shop/marketplace: shop names"].words == world.books.seller
        assert told["shop/mailbox: closed folder"].words == "Clos: was not there, made now"
        assert told["shop/mailbox: Sent folder"].words == "Sent (guessed by name)"
        assert "TLS 1.3, signed in" in told["shop/sending: sign-in"].words
        assert "in French" in told["shop/templates: templates"].words
        assert told["machine: clock"].state is State.OK
        assert told["shop/replies: reply mode"].state is State.WARN

        # Nobody's attention was called: the one mail of ours came and went as read.
        assert await world.mail.mails(world.address) == []
        assert await world.mail.mails(world.address, "Clos") == []
        (trial,) = await world.mail.mails(world.address, "Trash")
        assert "\\Seen" in trial.flags
        assert trial.message["Auto-Submitted"] == "auto-generated"
        assert world.mail.submitted == []
    assert not (desk.home / "state").exists(), "looking makes nothing"


async def test_on_dovecot(desk: Desk, dovecot: Dovecot, courier: Dovecot, user: str) -> None:
    for server in (dovecot, courier):
        imap = {"port": str(server.imap), "user": f'"{user}"', "password": '"secret"'}
        async with desk.world():
            first = await checked(desk.load(imap=imap))
            again = await checked(desk.load(imap=imap))
        assert (first.bad(), again.bad()) == (set(), set())
        assert first["shop/mailbox: closed folder"].words == "Clos: was not there, made now"
        assert again["shop/mailbox: closed folder"].words == "Clos"
        assert "the server says so" in again["shop/mailbox: Sent folder"].words
        assert "found by its Message-ID" in again["shop/mailbox: one mail"].words


async def test_a_server_that_repeats_the_password(desk: Desk) -> None:
    echo = """
        S: * OK ready
        C: CAPABILITY
        S: * CAPABILITY IMAP4rev1
        S: # OK
        C: LOGIN "support" "secret"
        S: # NO user support with password secret is not known, stranger@elsewhere.example
        END
    """
    async with desk.world(), ImapPeer(echo) as peer:
        told = await checked(desk.load(imap=at(peer)))
    assert told.bad() == {"shop/mailbox: sign-in"}
    assert "is not known, s…@elsewhere.example" in told["shop/mailbox: sign-in"].words
    assert not [f for f in told.all if "password secret" in f.words]


# --- one part broken, the others still told -----------------------------------------------------


@pytest.mark.parametrize(
    ("section", "change", "place", "words"),
    [
        ("imap", {"password": '"wrong-word"'}, "shop/mailbox: sign-in", "sign-in refused"),
        ("smtp", {"password": '"wrong-word"'}, "shop/sending: sign-in", "while signing in"),
        ("marketplace", {"password": '"wrong-word"'}, "shop/marketplace: service", "`login`"),
        ("imap", {"port": "1"}, "shop/mailbox: sign-in", "127.0.0.1:1: no connection"),
        ("smtp", {"port": "1"}, "shop/sending: sign-in", "127.0.0.1:1 while connecting"),
        (
            "marketplace",
            {"token_url": '"http://127.0.0.1:1/"'},
            "shop/marketplace: service",
            "no connection to 127.0.0.1",
        ),
        ("imap", {"host": '"nowhere.invalid"', "security": '"tls"'}, "shop/mailbox: sign-in", ""),
        ("smtp", {"host": '"nowhere.invalid"'}, "shop/sending: sign-in", "nowhere.invalid"),
        ("smtp", {"ca_file": None}, "shop/sending: sign-in", "certificate"),
    ],
)
async def test_one_broken_server_hides_no_other(
    desk: Desk, section: str, change: dict[str, str | None], place: str, words: str
) -> None:
    async with desk.world():
        told = await checked(desk.load({section: change}))
    assert told.bad() == {place}
    assert words in told[place].words
    assert {
        "shop/marketplace: service",
        "shop/mailbox: sign-in",
        "shop/sending: sign-in",
        "shop/templates: templates",
        "shop/replies: reply mode",
    } <= told.places()


async def test_a_secret_that_is_not_there_is_named_by_its_key(desk: Desk) -> None:
    async with desk.world():
        told = await checked(desk.load(imap={"password": '{ env = "NOT_SET_ANYWHERE" }'}))
    fault = told["configuration: accounts.shop.imap.password"]
    assert fault.bad
    assert "NOT_SET_ANYWHERE is not set" in fault.words
    assert told.bad() == {"configuration: accounts.shop.imap.password", "shop/mailbox: sign-in"}


async def test_a_folder_that_may_not_be_made(desk: Desk) -> None:
    refused = """
        C: LIST "" "*"
        S: * LIST () "/" INBOX
        S: * LIST () "/" Archive
        S: # OK
        C: LIST "" "Clos"
        S: # OK
        C: CREATE "Clos"
        S: # NO [NOPERM] Permission denied
        C: LIST "" "Clos"
        S: # OK
    """
    async with desk.world(), ImapPeer(opening("IDLE"), refused, LOGOUT) as peer:
        told = await checked(desk.load(imap=at(peer)))
    assert told.bad() == {"shop/mailbox: closed folder"}
    closed = told["shop/mailbox: closed folder"]
    assert "Clos is not there and may not be made" in closed.words
    assert "Permission denied" in closed.words
    assert "make it by hand" in closed.way_out

    assert told["shop/mailbox: capabilities"].words == "IDLE"
    for lacking in ("UIDPLUS", "SPECIAL-USE", "LITERAL+", "MULTIAPPEND"):
        assert told[f"shop/mailbox: no {lacking}"].state is State.INFO
    assert "marked as deleted" in told["shop/mailbox: no MOVE"].words
    assert told["shop/mailbox: no MOVE"].state is State.WARN
    sent = told["shop/mailbox: Sent folder"]
    assert sent.state is State.WARN
    assert "a Sent copy cannot prove" in sent.words


async def test_a_mailbox_that_is_full(desk: Desk) -> None:
    full = """
        C: LIST "" "*"
        S: * LIST () "/" INBOX
        S: * LIST (\\Sent) "/" "&AMk-l&AOk-ments"
        S: * LIST (\\Trash) "/" Bin
        S: * LIST () "/" Clos
        S: # OK
        C: APPEND "Clos" (\\Seen) …
        S: # NO [OVERQUOTA] Quota exceeded
    """
    async with desk.world(), ImapPeer(opening("MOVE UIDPLUS"), full, LOGOUT) as peer:
        told = await checked(desk.load(imap=at(peer)))
    assert told.bad() == {"shop/mailbox: one mail"}
    assert "Quota exceeded" in told["shop/mailbox: one mail"].words
    assert told["shop/mailbox: one mail"].way_out == "the mailbox is full: make room"
    assert told["shop/mailbox: Sent folder"].words == "Éléments (the server says so)"
    assert told["shop/mailbox: trash"].words == "Bin (the server says so)"
    assert "within 20 seconds" in told["shop/mailbox: no IDLE"].words


async def test_a_server_that_goes_away_in_the_middle(desk: Desk) -> None:
    gone = """
        C: LIST "" "*"
        DROP
    """
    async with desk.world(), ImapPeer(opening("IDLE"), gone) as peer:
        told = await checked(desk.load(imap=at(peer)))
    assert told.bad() == {"shop/mailbox: session"}
    assert told["shop/mailbox: capabilities"].state is State.OK


async def test_without_a_trash_the_mail_stays_marked_as_deleted(desk: Desk) -> None:
    async with desk.world(folders=("Sent",)) as world:
        told = await checked(desk.load())
        (trial,) = await world.mail.mails(world.address, "Clos")
    assert told.bad() == set()
    assert told["shop/mailbox: trash"].state is State.INFO
    assert "left there, marked as deleted" in told["shop/mailbox: one mail"].words
    assert "\\Deleted" in trial.flags


async def test_a_sent_folder_that_is_not_there(desk: Desk) -> None:
    async with desk.world():
        told = await checked(desk.load(mailbox={"sent_folders": '["Envoyés"]'}))
    named = [f for f in told.all if f.what == "Sent folder"]
    assert [f.state for f in named] == [State.BAD, State.OK]
    assert "Envoyés" in named[0].words
    assert "Sent" in named[0].way_out


def at(peer: ImapPeer) -> dict[str, str | None]:
    return {"port": str(peer.port), "user": '"support"', "password": '"secret"'}


# --- templates ---------------------------------------------------------------------------------


async def test_a_broken_template_is_named_with_its_line(desk: Desk) -> None:
    own = desk.home / "own"
    (own / "mail" / "fr").mkdir(parents=True)
    (own / "mail" / "fr" / "hold.j2").write_text("# Retenu\n\n{% if reason %}\nQue faire ?\n")
    (own / "mail" / "message.text.j2").write_text("Bonjour")
    async with desk.world():
        told = await checked(desk.load(top={"templates_dir": '"own"'}))
    assert told.bad() == {"shop/templates: mail/fr/hold.j2"}
    broken = told["shop/templates: mail/fr/hold.j2"]
    assert re.search(r"template mail/fr/hold\.j2, line [34]:", broken.words)
    assert "the one of mailbridge is used" in broken.way_out
    assert told["shop/templates: mail/message.text.j2"].state is State.WARN


async def test_a_variable_only_some_mails_have(desk: Desk) -> None:
    own = desk.home / "own"
    (own / "mail").mkdir(parents=True)
    (own / "mail" / "message.txt.j2").write_text("{{ words }}\n{{ card.number }}\n")
    async with desk.world():
        told = await checked(desk.load(top={"templates_dir": '"own"'}))
    broken = told["shop/templates: mail/message.txt.j2"]
    assert broken.bad
    assert "line 2" in broken.words


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"template": '"accusé"'}, None),
        ({"template": '"accuse"', "values": '{ delai = "deux jours" }'}, None),
        ({"template": '"acuse"'}, "there is no such template; did you mean accuse, facture?"),
        ({"template": '"merci"'}, "closes the discussion"),
        ({"template": '"retard"'}, "missing: date"),
        ({"template": '"accuse"', "values": '{ delais = "deux jours" }'}, "delais (delai ?)"),
        ({"template": '"annulation"'}, "needs an order, and there is none (for a question about"),
        ({"template": '"annulation"', "kinds": '["claim", "order_question"]'}, None),
    ],
)
async def test_the_template_of_acknowledgements_is_filled_in(
    desk: Desk, given: dict[str, str | None], words: str | None
) -> None:
    config = desk.load(acknowledgement=given).config
    notes = Notes("shop/templates", Redactor())
    await services.templates(notes, config, "shop", config.accounts["shop"])
    told = Told(notes.findings)
    key = "shop/templates: accounts.shop.acknowledgement.template"
    if words is None:
        assert told.bad() == set()
        assert told["shop/templates: acknowledgement"].state is State.OK
    else:
        assert told.bad() == {key}
        assert words in told[key].words
        assert "are not acknowledged" in told[key].way_out


async def test_a_greeting_that_names_what_is_not_there(desk: Desk) -> None:
    async with desk.world():
        told = await checked(desk.load(replies={"greeting": '"Bonjour {{ customer.prenom }},"'}))
    assert told.bad() == {"shop/templates: replies.greeting"}
    assert "no attribute 'prenom'" in told["shop/templates: replies.greeting"].words
    assert "answers are held" in told["shop/templates: replies.greeting"].way_out


async def test_a_reply_template_that_cannot_be_used(desk: Desk) -> None:
    own = desk.home / "own" / "replies"
    own.mkdir(parents=True)
    head = '+++\ntitle = "Garantie"\nlanguage = "fr"\n+++\n'
    (own / "garantie.txt.j2").write_text(head + "Garanti {{ duree }}.\n")
    (own / "fuite.txt.j2").write_text(head + "Écrivez à <x@mb.invalid>, merci.\n")
    async with desk.world():
        told = await checked(desk.load(top={"templates_dir": '"own"'}))
    names = {"shop/templates: replies/fuite.txt.j2", "shop/templates: replies/garantie.txt.j2"}
    assert told.bad() == names
    assert "line 5: nothing gives a value to duree" in told[max(names)].words
    assert "replies that use it are held" in told[max(names)].way_out


# --- this machine ------------------------------------------------------------------------------


async def test_the_journal_and_its_key(desk: Desk) -> None:
    async with desk.world():
        loaded = desk.load()
        await checked(loaded, probe=True)
        told = await checked(loaded)
        assert told["journal: journal"].state is State.OK
        assert told["machine: key"].state is State.OK
        assert told["machine: state directory"].state is State.OK

        state = loaded.config.state_dir
        (state / "identity.key").chmod(0o644)
        state.chmod(0o755)
        told = await checked(loaded)
        assert told["machine: key"].way_out == f"chmod 600 {state / 'identity.key'}"
        assert told["machine: state directory"].way_out == f"chmod 700 {state}"
        assert told.bad() == {"machine: key"}

        (state / "identity.key").unlink()
        told = await checked(loaded)
        assert told.bad() == {"machine: key"}
        assert "restore identity.key" in told["machine: key"].way_out
        assert not (state / "identity.key").exists()


async def test_a_journal_that_is_no_journal(desk: Desk) -> None:
    state = desk.home / "state"
    state.mkdir(mode=0o700)
    (state / "journal.sqlite3").write_bytes(b"this is not a database at all" * 100)
    (state / "identity.key").write_text("k" * 64 + "\n")
    (state / "identity.key").chmod(0o600)
    async with desk.world():
        told = await checked(desk.load())
    assert told.bad() == {"journal: journal"}
    assert "journal.sqlite3" in told["journal: journal"].words


async def test_somebody_holds_the_state_directory_and_says_nothing(desk: Desk) -> None:
    async with desk.world():
        loaded = desk.load()
        await checked(loaded, probe=True)
        with InstanceLock(loaded.config.state_dir):
            told = await checked(loaded)
            assert told.bad() == {"journal: journal"}
            assert "does not answer" in told["journal: journal"].words
            told = await checked(loaded, probe=True)
            assert told.bad() == {"journal: journal", "shop/replies: probe"}


@pytest.mark.parametrize(
    ("off", "state", "words"),
    [
        (timedelta(minutes=10), State.BAD, "ahead of"),
        (timedelta(minutes=-10), State.BAD, "behind"),
        (timedelta(minutes=1), State.WARN, "60 s ahead of"),
        (timedelta(seconds=2), State.OK, "agrees"),
    ],
)
async def test_a_clock_that_is_wrong(desk: Desk, off: timedelta, state: State, words: str) -> None:
    async with desk.world():
        notes = Notes("machine", Redactor())
        account = desk.load().config.accounts["shop"]
        await machine.clock_skew(notes, account, lambda: datetime.now(UTC) + off)
    (clock,) = notes.findings
    assert clock.state is state
    # The Date header has whole seconds.
    assert words.replace("60 s", "") in re.sub(r"(59|60|61) s", "", clock.words)
    assert bool(clock.way_out) is (state is not State.OK)


async def test_the_units_hardening(tmp_path: Path) -> None:
    find_tool("systemd-analyze", "apt-get install systemd")
    good = tmp_path / "good" / "mailbridge.service"
    weak = tmp_path / "weak" / "mailbridge.service"
    for path, pattern in ((good, None), (weak, r"^(Protect|Private|Restrict|Capab|System).*\n")):
        path.parent.mkdir()
        text = re.sub(
            r"^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE
        )
        path.write_text(re.sub(pattern, "", text, flags=re.MULTILINE) if pattern else text)

    async def judged(*folders: Path) -> Finding:
        notes = Notes("unit", Redactor())
        await machine.unit(notes, folders)
        (finding,) = notes.findings
        return finding

    assert (await judged(tmp_path / "none", good)).state is State.OK
    assert (await judged(weak, good)).state is State.WARN
    assert (await judged(tmp_path / "none")).state is State.INFO


# --- which accounts ----------------------------------------------------------------------------


async def test_one_account_of_two(desk: Desk) -> None:
    async with desk.world():
        loaded = desk.load(second=True)
        everything = await checked(loaded)
        assert {"shop/mailbox: sign-in", "other/mailbox: sign-in"} <= everything.places()
        assert everything.bad() == {"other/mailbox: sign-in", "other/marketplace: service"}

        told = await checked(loaded, account="shop")
        assert told.bad() == set()
        assert not [f for f in told.all if f.part.startswith("other/") or ".other." in f.what]

        with pytest.raises(CommandFailed, match=r"no account 'ship'; there are: shop, other"):
            await check(loaded, account="ship", probe=False)


async def test_a_disabled_account_is_tried_only_when_it_is_named(desk: Desk) -> None:
    async with desk.world():
        loaded = desk.load(second=True, off="other")
        assert (await checked(loaded)).bad() == set()
        assert "other/mailbox: sign-in" in (await checked(loaded, account="other")).bad()


# --- replies -----------------------------------------------------------------------------------


async def test_a_probe_without_a_daemon(desk: Desk) -> None:
    async with desk.world() as world:
        loaded = desk.load()
        told = await checked(loaded, probe=True)
        subject = "Test mailbridge – shop (MB-PROBE)"
        assert subject in told["shop/replies: probe"].words
        assert "answer « test »" in told["shop/replies: probe"].way_out
        (mail,) = await world.mail.mails(world.address)
        assert mail.message["Subject"] == subject
        assert "\\Seen" not in mail.flags

        waiting = (await checked(loaded))["shop/replies: reply mode"]
        assert waiting.state is State.WARN
        assert "has not been answered" in waiting.words
        assert (await checked(desk.load(replies={"enabled": "true"}))).bad() == {
            "shop/replies: reply mode"
        }


async def test_a_running_daemon_is_asked_and_the_journal_left_to_it(desk: Desk) -> None:
    async with desk.world() as world:
        loaded = desk.load()
        config = loaded.config
        config.state_dir.mkdir(mode=0o700)
        with InstanceLock(config.state_dir):
            async with bridges(config) as built:
                operations = Operations(built.accounts)
                operations.parts = lambda: [
                    part("shop/filing", "waiting", "the server is away"),
                    part("shop/sweeps", "failed", "the account may not do this"),
                    part("shop/replies", "running", ""),
                ]

                async def handle(command: str, arguments: dict[str, object]) -> object:
                    return await perform(operations, command, arguments)

                async with ControlServer(socket_path(config), handle):  # type: ignore[arg-type]
                    told = await checked(loaded, probe=True)
                    assert told["journal: daemon"].state is State.OK
                    assert told["journal: shop/filing"].state is State.WARN
                    assert told["journal: shop/filing"].words == "the server is away"
                    assert told.bad() == {"journal: shop/sweeps"}
                    assert "filed" in told["shop/replies: probe"].words
                    told = await checked(loaded)
                    assert "has not been answered" in told["shop/replies: reply mode"].words
        assert len(await world.mail.mails(world.address)) == 1


def part(name: str, state: str, error: str) -> dict[str, object]:
    return {"name": name, "state": state, "error": error, "since": "", "retry_at": None}


ANSWERED = Proof(
    asked_at="2026-11-23T09:00:00+00:00",
    answered_at="2026-11-23T09:05:00+00:00",
    reply_mode="plus",
    sender="paul@maison-brindille.example",
    folders="INBOX,Sent",
    origin="clean Sent copy",
)


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize(
    ("proof", "what", "words"),
    [
        (None, "reply mode", '"plus" is not proven'),
        (Proof(asked_at=ANSWERED.asked_at), "reply mode", "has not been answered"),
        (
            Proof(answered_at=ANSWERED.answered_at, reply_mode="alias", origin="x"),
            "reply mode",
            '"alias" was proven (2026-11-23 10:05), and now "plus" is configured',
        ),
        (
            Proof(answered_at=ANSWERED.answered_at, reply_mode="plus", folders="INBOX"),
            "evidence of origin",
            "none that is trusted",
        ),
    ],
)
def test_what_is_not_known_is_bad_once_replies_are_on(
    desk: Desk, on: bool, proof: Proof | None, what: str, words: str
) -> None:
    found = judged(desk, proof, on=on)
    worst = [f for f in found if f.state in (State.WARN, State.BAD)]
    assert [(f.what, f.bad) for f in worst] == [(what, on)]
    assert words in worst[0].words
    assert worst[0].way_out


def test_a_proven_mode_says_what_the_answer_taught(desk: Desk) -> None:
    found = {f.what: f for f in judged(desk, ANSWERED, on=True)}
    assert {f.state for f in found.values()} == {State.OK}
    assert found["reply mode"].words == (
        '"plus" is proven: an answer of 2026-11-23 10:05 was found in INBOX, Sent'
    )
    assert found["evidence of origin"].words == "clean Sent copy"


@pytest.mark.parametrize(
    ("trace", "way_out"),
    [
        (
            Trace("INBOX", authserv_id="mx.example.net", dmarc_passed=True),
            '[accounts.shop.trust] authserv_ids = ["mx.example.net"], if mx.example.net is your',
        ),
        (Trace("INBOX", authserv_id="mx.example.net"), "found no dmarc=pass"),
        (Trace("INBOX", exchange_internal=True), "exchange_internal = true"),
        (Trace("INBOX"), "keep a copy of what they send"),
    ],
)
def test_the_line_of_trust_that_would_help(desk: Desk, trace: Trace, way_out: str) -> None:
    proof = Proof(answered_at=ANSWERED.answered_at, reply_mode="plus", folders="INBOX")
    (origin,) = [f for f in judged(desk, proof, trace) if f.what == "evidence of origin"]
    assert way_out in origin.way_out


def judged(desk: Desk, proof: Proof | None, *traces: Trace, on: bool = True) -> list[Finding]:
    account = desk.load(replies={"enabled": "true" if on else "false"}).config.accounts["shop"]
    notes = Notes("shop/replies", Redactor())
    replies(notes, "shop", account, proof, traces)
    return notes.findings


async def test_the_answer_is_found_in_the_mailbox_and_its_headers_read(desk: Desk) -> None:
    answer = EmailMessage()
    answer["Authentication-Results"] = "mx.maison-brindille.example; dmarc=pass header.from=x"
    answer["From"] = "Paul <paul@maison-brindille.example>"
    answer["In-Reply-To"] = "<n.mb-probe.probe20261123090000.abcdefghijklmnop@mb.x.example>"
    answer.set_content("test")
    other = EmailMessage()
    other["Authentication-Results"] = "mx.evil.example; dmarc=pass"
    other["From"] = "Paul <paul@maison-brindille.example>"
    other.set_content("autre chose")
    proof = Proof(
        answered_at=datetime.now(UTC).isoformat(),
        reply_mode="plus",
        sender="paul@maison-brindille.example",
        folders="INBOX",
    )
    async with desk.world() as world:
        assert world.mail.imap is not None
        for mail in (answer, other):
            await world.mail.imap.append(world.address, mail.as_bytes())
        config = desk.load().config
        notes = Notes("shop/mailbox", Redactor())
        account = config.accounts["shop"]
        found = await mailbox(notes, config, account, Redactor(), wall_clock, proof)
    assert found == [Trace("INBOX", authserv_id="mx.maison-brindille.example", dmarc_passed=True)]


async def test_a_round_trip(desk: Desk) -> None:
    """The agent answers « test » from their client, and the next check says what was learned."""
    async with desk.world(provider=Provider(authenticates=True)) as world:
        loaded = desk.load()
        await checked(loaded, probe=True)
        agent = world.agent("Paul", tls=desk.client_tls)
        (probe,) = await agent.mails()
        await agent.reply(probe, "test")
        await world.mail.settled()
        with InstanceLock(loaded.config.state_dir):
            async with bridges(loaded.config) as built:
                # The first look at a folder only takes note of what lies there.
                for _ in range(2):
                    await built.accounts["shop"].once(None)
        told = await checked(loaded)
        mode = told["shop/replies: reply mode"]
        assert mode.state is State.OK, mode
        assert "INBOX, Sent" in mode.words
        assert told["shop/replies: evidence of origin"].state is State.OK
