"""On which line a key stands, in every way TOML has of writing one."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from mailbridge.config.lines import Lines

FILE = '''\
# a comment with [brackets] and key = "value"
top = 1
"quoted key" = 2
dotted.inner.deep = 3

[accounts.shop]   # a comment ]
names = [
  "one",   # [not a list
  "two]",
]
text = """
host = "not a key"
[nor.a.table]
"""
raw = 'host = 1'
staff = [
  { address = "a", name = "b" },
  { address = "c" },
]

[[accounts.shop.people]]
when = 1979-05-27 07:32:00

[[accounts.shop.people]]
name = 'x'

[accounts.shop.people.home]
city = "y"

[ accounts . "the other" ]
imap = { host = "h", password = { file = "/x" } }
last = 1
'''


def test_each_key_is_found_on_its_line() -> None:
    tomllib.loads(FILE)
    rows = FILE.split("\n")
    lines = Lines(FILE)

    def row(*path: str | int) -> str:
        line = lines.of(path)
        assert line is not None
        return rows[line - 1].strip()

    assert row("top") == "top = 1"
    assert row("quoted key") == '"quoted key" = 2'
    assert row("dotted", "inner", "deep") == "dotted.inner.deep = 3"
    assert row("accounts", "shop").startswith("[accounts.shop]")
    assert row("accounts", "shop", "names", 0).startswith('"one"')
    assert row("accounts", "shop", "names", 1).startswith('"two]"')
    assert row("accounts", "shop", "text") == 'text = """'
    assert row("accounts", "shop", "raw") == "raw = 'host = 1'"
    assert row("accounts", "shop", "staff", 1, "address").startswith('{ address = "c"')
    assert row("accounts", "shop", "people", 0, "when") == "when = 1979-05-27 07:32:00"
    assert row("accounts", "shop", "people", 1, "name") == "name = 'x'"
    assert row("accounts", "shop", "people", 1, "home", "city") == 'city = "y"'
    assert row("accounts", "the other", "imap", "password", "file").startswith("imap = {")
    assert row("accounts", "the other", "last") == "last = 1"


def test_a_missing_key_is_on_the_line_of_its_table() -> None:
    lines = Lines("\n[a]\n[a.b]\nc = 1\n")
    assert lines.of(("a", "b", "missing")) == 3
    assert lines.of(("missing",)) is None


_KEYS = st.sampled_from(["a", "b", "é", "x y", "1", "]", "#", "'", '"'])
_VALUES = st.recursive(
    st.sampled_from(
        ["1", '"]"', "'{'", '"""\n[x]\n"""', "1979-05-27 07:32:00Z", "'''a\n''''", "+inf"]
    ),
    lambda inner: st.lists(inner, max_size=3).map(
        lambda some: "[ # c ]\n" + ",\n".join(some) + "]"
    ),
    max_leaves=5,
)


@given(st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_whatever_the_values_are_the_keys_are_found(values: dict[str, str]) -> None:
    text, expected = "", {}
    for key, value in values.items():
        quoted = '"' + key.replace('"', '\\"') + '"'
        expected[key] = text.count("\n") + 1
        text += f"{quoted} = {value}\n"
    tomllib.loads(text)
    lines = Lines(text)
    assert {key: lines.of((key,)) for key in values} == expected
