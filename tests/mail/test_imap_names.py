"""Folder names between people and servers, and answers cut into values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.mail.imap_names import Namespace, decode_name, encode_name, guess_use, quote
from mailbridge.mail.imap_values import batches, internal_date, tokens, uid_set
from mailbridge.mail.port import SpecialUse

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


class TestModifiedUtf7:
    @pytest.mark.parametrize(
        ("name", "raw"),
        [
            ("Éléments envoyés", "&AMk-l&AOk-ments envoy&AOk-s"),
            ("R&D", "R&-D"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 5.1.3
            ("😀", "&2D3eAA-"),
            ("a\r\nb", "a&AA0ACg-b"),
        ],
    )
    def test_known_pairs(self, name: str, raw: str) -> None:
        assert encode_name(name) == raw
        assert decode_name(raw) == name

    @given(NAMES)
    def test_round_trip(self, name: str) -> None:
        raw = encode_name(name)
        assert raw.isascii()
        assert raw.isprintable()
        assert decode_name(raw) == name

    @pytest.mark.parametrize(
        "raw", ["&", "&AGE-", "&AOk", "&AO-", "é", "&*-", "&2D0-", "&U,BTFw-&ZeU-"]
    )
    def test_what_is_not_in_its_one_form_is_refused(self, raw: str) -> None:
        with pytest.raises(ValueError):  # noqa: PT011 - several kinds of it
            decode_name(raw)


class TestNamespace:
    @given(
        st.one_of(NAMES, NAMES.map("INBOX.".__add__), NAMES.map("INBOX/".__add__)),
        st.sampled_from(
            [
                Namespace(),
                Namespace("INBOX.", "."),
                Namespace("INBOX/", "/"),
                Namespace("", ".", ("shared.", "")),
                Namespace("", ""),
            ]
        ),
    )
    def test_what_is_shown_can_be_used(self, raw_name: str, space: Namespace) -> None:
        shown = space.shown(encode_name(raw_name))
        if shown is not None and raw_name.upper() != "INBOX":
            assert decode_name(space.raw(shown)) == raw_name

    @pytest.mark.parametrize("name", ["Clos", "INBOX.Clos", "inbox.Clos", "INBOX/Clos"])
    def test_one_folder_however_it_is_written(self, name: str) -> None:
        assert Namespace("INBOX.", ".").wire(name) == '"INBOX.Clos"'

    def test_the_inbox_has_no_prefix(self) -> None:
        assert Namespace("INBOX.", ".").wire("Inbox") == '"INBOX"'
        assert Namespace("INBOX.", ".").shown("inbox") == "INBOX"

    def test_what_would_lead_elsewhere_is_not_shown(self) -> None:
        space = Namespace("INBOX.", ".")
        assert space.shown("INBOX.Clos.2026") == "Clos/2026"
        for raw in ("INBOX.INBOX.Clos", "INBOX.a/b", "INBOX.", "INBOX.inbox"):
            assert space.shown(raw) is None

    def test_folders_of_others_are_reached_and_not_shown(self) -> None:
        space = Namespace("INBOX.", ".", ("user.", ""))
        assert space.wire("user.paul") == '"user.paul"'
        assert space.shown("user.paul") is None
        assert space.shown("lists") is None

    @pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\0b", "é"])
    def test_no_quoted_string_holds_these(self, text: str) -> None:
        with pytest.raises(ValueError, match="quoted string"):
            quote(text)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("Sent", SpecialUse.SENT),
        ("SENT ITEMS", SpecialUse.SENT),
        ("Éléments envoyés", SpecialUse.SENT),
        ("E\u0301le\u0301ments envoye\u0301s", SpecialUse.SENT),
        ("[Gmail]/Messages envoyés", SpecialUse.SENT),
        ("[Gmail]/Tous les messages", SpecialUse.ALL),
        ("Corbeille", SpecialUse.TRASH),
        ("Brouillons", SpecialUse.DRAFTS),
        ("Courrier indésirable", SpecialUse.JUNK),
        ("Archives", SpecialUse.ARCHIVE),
        ("Tous les messages", None),
        ("Clients/Envoyés", None),
        ("Boîte d'envoi", None),
        ("Outbox", None),
        ("Sent to Paul", None),
        ("INBOX", None),
        ("Clos", None),
    ],
)
def test_roles_guessed_from_names(name: str, use: SpecialUse | None) -> None:
    assert guess_use(name) is use


class TestValues:
    def test_items_nest_and_literals_stand_where_they_were_announced(self) -> None:
        row = [
            b'1 FETCH (A ("q \\"\\\\ )" NIL) BODY[HEADER.FIELDS (X Y)]<0> {3}',
            b"(()",
            b" B [x)",
        ]
        assert tokens(row) == [
            b"1",
            b"FETCH",
            [b"A", [b'q "\\ )', None], b"BODY[HEADER.FIELDS (X Y)]<0>", b"(()", b"B", b"[x"],
        ]

    @pytest.mark.parametrize("row", [b"1 (", b"1 )", b'1 "a', b"1 {3} x", b"\t"])
    def test_what_is_no_imap_data_is_refused(self, row: bytes) -> None:
        with pytest.raises(ValueError, match="IMAP data"):
            tokens([row])

    @given(st.binary(max_size=60))
    def test_any_octets_end_in_a_value_or_a_refusal(self, octets: bytes) -> None:
        try:
            tokens([octets])
        except ValueError as error:
            assert "IMAP data" in str(error)  # noqa: PT017 - either is right

    @given(st.sets(st.integers(1, 3000), max_size=1500))
    def test_uid_sets_name_every_uid_once(self, uids: set[int]) -> None:
        named: list[int] = []
        for batch in batches(uids):
            assert len(batch) <= 400
            for part in uid_set(batch).split(","):
                first, _, last = part.partition(":")
                named += range(int(first), int(last or first) + 1)
        assert named == sorted(uids)

    @pytest.mark.parametrize("text", [b"", b"3-Nov-2025", b"03-Foo-2025 12:00:07 +0000", None])
    def test_a_date_that_is_none(self, text: bytes | None) -> None:
        with pytest.raises(ValueError):  # noqa: PT011 - several kinds of it
            internal_date(text)
