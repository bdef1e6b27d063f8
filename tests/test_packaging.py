"""What an installation gets: everything the program reads at run time is in the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

import pytest

import mailbridge
from tests.source import ROOT, imports

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TRASH = {"__pycache__", ".venv", ".git", ".hypothesis", ".mypy_cache", ".ruff_cache"}


def build(target: str, into: Path) -> Path:
    # hatchling by itself, in this environment: no network, nothing but `into` is written.
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = into.iterdir()
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as opened:
        yield opened


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    with tarfile.open(build("sdist", tmp_path_factory.mktemp("sdist"))) as opened:
        return {name.partition("/")[2] for name in opened.getnames()}


def files(folder: str) -> set[str]:
    """Files of the checkout below a folder, as paths from its top."""
    found = {p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob("*") if p.is_file()}
    return {name for name in found if not TRASH & set(PurePosixPath(name).parts)}


def test_the_wheel_has_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    package = files("mailbridge")
    # Not only modules: what is read by path at run time, and the mark that there are types.
    kinds = ("wsdl", "xsd", "yaml")
    for kind in (*(f"*/contract/*.{k}" for k in kinds), "*/migrations/script.py.mako"):
        assert any(PurePosixPath(name).match(kind) for name in package), kind
    assert {"mailbridge/py.typed", "mailbridge/journal/migrations/env.py"} <= package
    assert any("/migrations/versions/" in name for name in package)
    assert package - set(wheel.namelist()) == set()


def test_the_wheel_has_the_templates_where_the_program_looks_for_them(
    wheel: zipfile.ZipFile,
) -> None:
    templates = files("templates")
    assert templates
    assert {f"mailbridge/{name}" for name in templates} - set(wheel.namelist()) == set()


def test_the_wheel_brings_unit_example_and_guides(wheel: zipfile.ZipFile) -> None:
    data = f"mailbridge-{mailbridge.__version__}.data/data/share"
    wanted = {
        f"{data}/mailbridge/config.example.toml": "config.example.toml",
        f"{data}/mailbridge/mailbridge.service": "systemd/mailbridge.service",
        f"{data}/doc/mailbridge/INSTALL.md": "docs/INSTALL.md",
        f"{data}/doc/mailbridge/agents.fr.md": "docs/agents.fr.md",
    }
    for inside, source in wanted.items():
        assert wheel.read(inside) == (ROOT / source).read_bytes()


def test_the_wheel_holds_no_test_and_no_trash(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    version = mailbridge.__version__
    assert tops == {
        "mailbridge",
        f"mailbridge-{version}.data",
        f"mailbridge-{version}.dist-info",
    }
    assert not [n for n in wheel.namelist() if TRASH & set(PurePosixPath(n).parts)]


def test_the_wheel_says_who_it_is(wheel: zipfile.ZipFile) -> None:
    info = f"mailbridge-{mailbridge.__version__}.dist-info"
    told = BytesParser().parsebytes(wheel.read(f"{info}/METADATA"))
    assert told["Version"] == PROJECT["version"] == mailbridge.__version__
    assert told["License-Expression"] == "GPL-3.0-or-later"
    assert told["Requires-Python"] == ">=3.11"
    licence = wheel.read(f"{info}/licenses/LICENSE").decode()
    assert "GNU GENERAL PUBLIC LICENSE\n                       Version 3" in licence
    assert "mailbridge = mailbridge.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()


def test_the_sdist_can_be_built_tested_and_installed_from(sdist: set[str]) -> None:
    folders = ("mailbridge", "templates", "tests", "docs", "systemd")
    wanted = {name for folder in folders for name in files(folder)}
    wanted |= {"config.example.toml", "constraints.txt", "Makefile", "LICENSE", "README.md"}
    assert wanted - sdist == set()


PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[0-9][0-9a-zA-Z.!+]*)")


def test_every_constraint_is_one_exact_version() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not PIN.fullmatch(line)] == []


def names(requirements: list[str]) -> set[str]:
    """Distributions by their normalised names (PEP 503)."""
    bare = (re.split(r"[\[<>=!~ ]", each, maxsplit=1)[0] for each in requirements)
    return {normal(name) for name in bare} - {"mailbridge"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_everything_the_project_asks_for_is_pinned() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {normal(found["name"]) for found in PIN.finditer(text)}
    extras = PROJECT["optional-dependencies"].values()
    asked = names([*PROJECT["dependencies"], *(each for extra in extras for each in extra)])
    assert asked - pinned == set()


# Module names that differ from the distribution's, and parts of what is asked for: pydantic fixes
# pydantic-core's version itself, pymap is built on the other two.
COMES_WITH = {
    "pydantic_core": "pydantic",
    "pysasl": "pymap",
    "proxyprotocol": "pymap",
}


def test_everything_imported_is_asked_for() -> None:
    always = names(PROJECT["dependencies"])
    demo = always | names(PROJECT["optional-dependencies"]["demo"])
    unasked = []
    for each in imports():
        module = each.target.partition(".")[0]
        if module in sys.stdlib_module_names or module == "mailbridge":
            continue
        asked = demo if each.file.startswith("mailbridge/sandbox/") else always
        if normal(COMES_WITH.get(module, module)) not in asked:
            unasked.append(str(each))
    assert unasked == []


# SQLAlchemy's driver is named in a URL, never imported here.
BY_NAME = {"aiosqlite"}


def test_everything_asked_for_is_imported() -> None:
    modules = {each.target.partition(".")[0] for each in imports()}
    used = {normal(COMES_WITH.get(module, module)) for module in modules}
    assert names(PROJECT["dependencies"]) - used - BY_NAME == set()
