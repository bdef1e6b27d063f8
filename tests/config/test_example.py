"""`config.example.toml` and `docs/configuration.md` say what the models say."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mailbridge.config import kinds, shape
from mailbridge.config.loader import load
from mailbridge.config.reference import reference

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config.example.toml").read_text(encoding="utf-8")
DURATION: TypeAdapter[timedelta] = TypeAdapter(kinds.Duration)


def uncommented() -> str:
    """The example with every optional key switched on: `#key` and `#[table]`, never `# words`."""
    return re.sub(r"^#(?=[a-z\[])", "", EXAMPLE, flags=re.MULTILINE)


def table(data: dict[str, Any], section: shape.Section) -> dict[str, Any]:
    """The section's table in the data: the first account of its kind, the first of a list."""
    here: Any = data
    for part in section.path[:-1] if section.kind else section.path:
        if part != shape.NAME:
            here = here[part]
        elif isinstance(here, list):
            here = here[0]
        else:
            kinds = [one for one in here.values() if _is_kind(one, section.kind)]
            here = kinds[0]
    assert isinstance(here, dict)
    return here


def _is_kind(account: dict[str, Any], kind: str) -> bool:
    return kind in ("", account.get("marketplace", {}).get("kind"))


def test_the_example_as_it_stands_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(EXAMPLE, encoding="utf-8")
    warnings = load(file, {}).warnings
    assert [one.where for one in warnings] == ["alerts"]  # the one thing a person must still add


def test_the_example_shows_every_key_there_is(tmp_path: Path) -> None:
    data = tomllib.loads(uncommented())
    for section in shape.sections():
        assert set(table(data, section)) == set(section.model.model_fields), section.title()


def test_the_example_with_every_key_switched_on_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    text = re.sub(r"^ca_file.*$", "", uncommented(), flags=re.MULTILINE)
    text = text.replace('"/etc/mailbridge/templates"', '"templates"')
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    # Both ways of signing in and an unused reply address cannot all make sense at once, nor do
    # acknowledgements while replies are off.
    assert {one.where.rpartition(".")[2] for one in load(file, {}).warnings} == {
        "token",
        "reply_address",
        "acknowledgement",
    }


def test_an_optional_key_is_shown_with_its_default() -> None:
    data = tomllib.loads(uncommented())
    compared = 0
    for section in shape.sections():
        written = table(data, section)
        for name, field in section.values.items():
            default = field.get_default(call_default_factory=True)
            if field.is_required() or default in (None, "", (), {}):
                continue
            shown = written[name]
            shown = DURATION.validate_python(shown) if isinstance(default, timedelta) else shown
            assert shown == (str(default) if isinstance(default, Path) else default), name
            compared += 1
    assert compared > 40


def test_the_reference_is_up_to_date() -> None:
    file = ROOT / "docs" / "configuration.md"
    assert file.read_text(encoding="utf-8") == reference(), (
        "run: python -m mailbridge.config.reference > docs/configuration.md"
    )
