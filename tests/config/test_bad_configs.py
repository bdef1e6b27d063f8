"""A folder of configurations people could write, each with the words it is refused with.

Every secret in them contains "hush", which no answer may repeat.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.config.loader import ConfigError, load

FOLDER = Path(__file__).parents[1] / "bad-configs"
FILES = sorted(FOLDER.glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_bad_configuration_is_answered_in_these_words(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)
    with pytest.raises(ConfigError) as refused:
        load(Path(file.name), {})
    assert f"{refused.value}\n" == file.with_suffix(".expected").read_text(encoding="utf-8")
    assert "hush" not in f"{refused.value!r}{refused.value}".lower()
    assert refused.value.__cause__ is None


def test_the_folder_is_complete() -> None:
    expected = {file.stem for file in FOLDER.glob("*.expected")}
    assert {file.stem for file in FILES} == expected
    assert len(FILES) >= 50
