"""Which way imports go, and where each library, the clock and the states are let in.

docs/ARCHITECTURE.md says it in words; here it breaks the build.
"""

from __future__ import annotations

import ast
import re
import sys

import pytest

from tests.source import ROOT, Import, imports, modules

# room -> what it may import of mailbridge: a room, or one module of it. A room is a package, or a
# module that stands at the top. Composing rooms (daemon, service, checkup, cli) see adapters; the
# flows in `bridge` see ports.
MAY_IMPORT: dict[str, set[str]] = {
    "domain": set(),
    "journal": {"domain"},
    "marketplace": {"domain"},
    "mail": {"domain", "config.models"},
    "config": {"domain"},
    "ops": {"domain", "mail.port"},
    "bridge": {
        "domain",
        "journal",
        "mail",
        "marketplace.port",
        "config.models",
        "ops.supervisor",
    },
    "adapters": {"config", "domain", "mail", "marketplace", "ops"},
    "daemon": {"adapters", "bridge", "config", "domain", "journal", "mail", "marketplace", "ops"},
    "service": {"adapters", "bridge", "config", "daemon", "mail", "ops"},
    "checkup": {
        "adapters",
        "bridge",
        "config",
        "daemon",
        "domain",
        "journal",
        "mail",
        "marketplace",
        "ops",
        "service",
    },
    "report": {"checkup"},
    "campaign": {"ops", "progress"},
    "progress": set(),
    "repayment": {"ops", "report"},
    "offline": {"bridge", "config", "daemon", "ops"},
    "migration": {"bridge", "config", "daemon", "marketplace.port", "ops"},
    # Nothing else starts the sandbox.
    "cli": {
        "bridge",
        "campaign",
        "checkup",
        "config",
        "daemon",
        "journal",
        "migration",
        "offline",
        "ops",
        "progress",
        "repayment",
        "report",
        "sandbox.demo",
        "sandbox.simulate",
        "service",
    },
    "__main__": {"cli"},
    # It runs the real daemon as a process of its own and speaks to it as the command line does.
    "sandbox": {"domain", "ops.control"},
}

# library -> the only places that may import it (prefixes below mailbridge); one door each, so that
# what was learnt of its dangers stands in one place.
DOORS: dict[str, tuple[str, ...]] = {
    "aioimaplib": ("mail.imap",),
    "aiosmtplib": ("mail.smtp", "sandbox."),
    "aiosmtpd": ("sandbox.",),
    "aiohttp": ("sandbox.",),
    "pymap": ("sandbox.",),
    "zeep": ("marketplace.cdiscount.wsdl",),
    "lxml": ("marketplace.cdiscount.", "marketplace.octopia.bodies", "mail.markup", "sandbox."),
    "httpx": ("marketplace.", "ops.alert", "service", "checkup."),
    "sqlalchemy": ("journal.", "config.servers", "checkup."),
    "alembic": ("journal.",),
    "authres": ("mail.trust",),
    "inscriptis": ("mail.markup", "marketplace.octopia.bodies", "sandbox."),
    "jinja2": ("mail.rendering", "config.checks"),
    "markupsafe": ("mail.",),
    "rich": ("campaign", "cli", "migration", "progress", "repayment", "report", "sandbox."),
}


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room_of(module: str) -> str:
    """`mailbridge.mail.imap` is in `mail`; `mailbridge` itself, with the version, in ``."""
    return module.split(".")[1] if "." in module else ""


def within(target: str, allowed: set[str]) -> bool:
    inner = target.removeprefix("mailbridge.")
    return any(inner == each or inner.startswith(f"{each}.") for each in allowed)


def ours() -> list[Import]:
    """Imports from one room of mailbridge into another; the version is everybody's."""
    return [
        each
        for each in imports()
        if each.target.startswith("mailbridge.")
        and room_of(each.target) != room_of(module_of(each.file))
    ]


def test_every_room_has_its_rule() -> None:
    rooms = {room_of(module) for module in modules()} - {""}
    assert rooms == set(MAY_IMPORT)


def test_imports_go_one_way() -> None:
    wrong = []
    for each in ours():
        allowed = MAY_IMPORT.get(room_of(module_of(each.file)), set())
        if not within(each.target, allowed):
            wrong.append(str(each))
    assert wrong == []


def test_rules_allow_nothing_that_nobody_needs() -> None:
    """A rule wider than the code would not be noticed when it should be."""
    used: dict[str, set[str]] = {}
    for each in ours():
        used.setdefault(room_of(module_of(each.file)), set()).add(each.target)
    idle = {
        f"{room} -> {each}"
        for room, allowed in MAY_IMPORT.items()
        for each in allowed
        if not any(within(target, {each}) for target in used.get(room, ()))
    }
    assert idle == set()


@pytest.mark.parametrize("adapter", ["cdiscount", "octopia"])
def test_adapters_of_a_marketplace_are_known_to_the_composing_rooms_only(adapter: str) -> None:
    """One more marketplace is a folder, a kind in the configuration and a line in `adapters`."""
    knowing = {
        module_of(each.file)
        for each in imports()
        if within(each.target, {f"marketplace.{adapter}"})
        and not module_of(each.file).startswith(f"mailbridge.marketplace.{adapter}")
    }
    assert knowing == {"mailbridge.adapters"}


NAMES_OF_MARKETPLACES = re.compile(r"cdiscount|octopia|soap\b", re.IGNORECASE)


def words_of(tree: ast.AST) -> set[str]:
    """Every name and text in the code; what a docstring says is only said."""
    said = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in said:
                found.add(text)
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.keyword(arg=str(name)) | ast.ClassDef(name=name) | ast.alias(name=name):
                found.add(name)
            case _:
                pass
    return found


@pytest.mark.parametrize("room", ["bridge", "domain", "journal"])
def test_flows_name_no_marketplace(room: str) -> None:
    """What differs between marketplaces is a capability of the port, never an `if`."""
    named = {
        f"{path.relative_to(ROOT)}: {word}"
        for path in sorted((ROOT / "mailbridge" / room).rglob("*.py"))
        for word in words_of(ast.parse(path.read_text(encoding="utf-8")))
        if NAMES_OF_MARKETPLACES.search(word)
    }
    assert named == set()


def test_flows_see_ports_and_never_a_connection() -> None:
    connections = ("mailbridge.mail.imap", "mailbridge.mail.smtp")
    wrong = [
        str(each)
        for each in imports()
        if each.file.startswith("mailbridge/bridge/") and each.target.startswith(connections)
    ]
    assert wrong == []


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_one_door(library: str) -> None:
    wrong = [
        str(each)
        for each in imports()
        if each.target.partition(".")[0] == library
        and not module_of(each.file).removeprefix("mailbridge.").startswith(DOORS[library])
    ]
    assert wrong == []


# Modules through which the world outside comes in.
OUTSIDE = {
    "asyncio", "http", "imaplib", "multiprocessing", "os", "pathlib", "random", "secrets",
    "shutil", "signal", "smtplib", "socket", "sqlite3", "ssl", "subprocess", "tempfile",
    "threading", "time", "urllib", "uuid",
}  # fmt: skip


def test_the_domain_is_pure() -> None:
    """Values in, values out: the standard library, and none of it that does anything."""
    wrong = []
    for each in imports():
        if not each.file.startswith("mailbridge/domain/"):
            continue
        top = each.target.partition(".")[0]
        if top in OUTSIDE or (top != "mailbridge" and top not in sys.stdlib_module_names):
            wrong.append(str(each))
    assert wrong == []


def called_clocks(source: str) -> list[int]:
    """Lines that ask the machine for the time: `datetime.now()`, `date.today()`, `time.time()`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="datetime"), attr="now" | "utcnow" | "today"):
                found.append(node.lineno)
            case ast.Attribute(value=ast.Name(id="date"), attr="today"):
                found.append(node.lineno)
            case ast.Attribute(value=ast.Name(id="time"), attr="time" | "time_ns" | "localtime"):
                found.append(node.lineno)
    return found


def test_a_called_clock_is_found() -> None:
    source = "at = datetime.now(UTC)\nday = date.today()\nnow = clock()\nx = time.time()"
    assert called_clocks(source) == [1, 2, 4]


@pytest.mark.parametrize("room", ["domain", "bridge", "journal", "mail", "marketplace"])
def test_the_time_is_handed_in(room: str) -> None:
    asking = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / "mailbridge" / room).rglob("*.py"))
        if (lines := called_clocks(path.read_text(encoding="utf-8")))
    }
    assert asking == {}


def set_states(source: str) -> list[int]:
    """Lines that assign to an attribute called `state`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Assign(targets=targets):
                parts = [part for target in targets for part in ast.walk(target)]
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                parts = [target]
            case _:
                continue
        found += [p.lineno for p in parts if isinstance(p, ast.Attribute) and p.attr == "state"]
    return found


def test_a_set_state_is_found() -> None:
    assert set_states('row.state = "x"\na, row.state = 1, 2\nstate = row.state') == [1, 2]


def test_states_move_in_one_place_only() -> None:
    """`Transaction.move` asks the machine's table and writes the event; nobody goes past it."""
    movers = {
        path.relative_to(ROOT).as_posix()
        for room in ("bridge", "journal")
        for path in (ROOT / "mailbridge" / room).rglob("*.py")
        if set_states(path.read_text(encoding="utf-8"))
    }
    assert movers == {"mailbridge/journal/transaction.py"}


def test_every_module_says_what_lives_in_it() -> None:
    silent = [
        module_of(str(path.relative_to(ROOT)))
        for path in sorted((ROOT / "mailbridge").rglob("*.py"))
        if ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is None
    ]
    assert silent == []


LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: str) -> set[str]:
    """The names GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).strip().replace(" ", "-") for t in titles}


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CHANGELOG.md",
        *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))),
    ],
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    here = ROOT / page
    broken = []
    for path, anchor in LINK.findall(here.read_text(encoding="utf-8")):
        there = here.parent / path if path else here
        if not there.exists() or (
            anchor and anchor not in anchors(there.read_text(encoding="utf-8"))
        ):
            broken.append(f"{path}#{anchor}")
    assert broken == []
