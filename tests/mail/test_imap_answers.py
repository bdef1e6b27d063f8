"""IMAP servers whose answers mislead, and servers that lack what others have."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from mailbridge.mail.port import Folder, MailboxLost, MailboxRefused, MailToFile, SpecialUse
from tests.mail.imap_peer import LOGOUT, SELECTED, at_most, opening, session_with

DATE = datetime(2025, 11, 23, 12, 0, 7, tzinfo=UTC)
WIRE_DATE = '"23-Nov-2025 12:00:07 +0000"'


def mail(number: int) -> MailToFile:
    return MailToFile(f"<{number}@x>", f"Message-ID: <{number}@x>\r\n\r\n".encode(), DATE)


class TestAnswersThatMislead:
    HEADER = b"Subject: * star\r\n\r\n"

    def fetched(self, uid: int, number: int | None = None) -> bytes:
        return (
            b'* %d FETCH (UID %d FLAGS (\\Seen $x) INTERNALDATE " 3-Nov-2025 12:00:07 -0330"'
            b" RFC822.SIZE 99 BODY[HEADER] {%d}\r\n%b)\r\n"
            % (number or uid, uid, len(self.HEADER), self.HEADER)
        )

    ASK = "C: UID FETCH {} (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER])"

    async def test_other_mails_are_told_of_in_passing(self) -> None:
        async with session_with(
            opening(),
            SELECTED,
            self.ASK.format("5,7"),
            b"* 1 FETCH (FLAGS (\\Seen))\r\n* 4 EXISTS\r\n",
            self.fetched(6),
            b"* 2 FETCH (FLAGS (\\Deleted) UID 5)\r\n",
            self.fetched(7),
            b"* 9 FETCH (FLAGS (\\Answered) UID 7)\r\n* OK [ALERT] (:\r\n# OK\r\n",
            LOGOUT,
        ) as session:
            (found,) = await session.headers("INBOX", [7, 5])
            assert found.uid == 7
            assert found.data == self.HEADER
            assert found.flags == {"\\Answered"}
            assert found.internal_date.isoformat() == "2025-11-03T12:00:07-03:30"
            assert found.size == 99

    @pytest.mark.parametrize("size", [1, 7, 100, 5000])
    async def test_answers_in_pieces(self, size: int) -> None:
        answer = self.fetched(5) + self.fetched(7) + b"# OK\r\n"
        pieces = [answer[i : i + size] for i in range(0, len(answer), size)]
        script = [part for piece in pieces for part in (piece, "PAUSE 0")]
        async with session_with(
            opening(), SELECTED, self.ASK.format("5,7"), *script, LOGOUT
        ) as session:
            found = await session.headers("INBOX", [5, 7])
            assert [(f.uid, f.data) for f in found] == [(5, self.HEADER), (7, self.HEADER)]

    async def test_an_empty_literal_at_the_end_of_a_piece(self) -> None:
        async with session_with(
            opening(),
            SELECTED,
            "C: UID FETCH 5 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])",
            b"* 5 FETCH (UID 5 BODY[] {0}\r\n",
            "PAUSE 0.05",
            b' FLAGS () INTERNALDATE "03-Nov-2025 12:00:07 +0000" RFC822.SIZE 0)\r\n# OK\r\n',
            LOGOUT,
        ) as session:
            found = await session.fetch("INBOX", 5)
            assert found is not None
            assert found.data == b""

    async def test_a_body_as_quoted_string(self) -> None:
        # The second line is no answer's continuation in IMAP: only literals go on.
        async with session_with(
            opening(),
            SELECTED,
            "C: UID FETCH 5 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]<0.9>)",
            'S: * 5 FETCH (UID 5 BODY[]<0> "a\\"(* b" FLAGS (\\Seen)',
            'S:  INTERNALDATE "03-Nov-2025 12:00:07 +0000" RFC822.SIZE 7)',
            "S: # OK",
        ) as session:
            with pytest.raises(MailboxLost, match="FETCH could not be understood"):
                await session.fetch("INBOX", 5, limit=9)

    async def test_fifteen_hundred_short_lines_in_one_piece(self) -> None:
        # More than the library's recursive parser can take.
        lines = b"".join(b"* %d FETCH (FLAGS ())\r\n" % n for n in range(1, 1501))
        async with session_with(
            opening(), SELECTED, "C: UID SEARCH …", lines + b"* SEARCH 8\r\n# OK\r\n", LOGOUT
        ) as session:
            assert await session.uids("INBOX") == [8]

    async def test_garbage_in_a_fetch(self) -> None:
        async with session_with(
            opening(), SELECTED, "C: UID FETCH 5…", "S: * 5 FETCH (UID 5 BODY[] ((\\", "S: # OK"
        ) as session:
            with pytest.raises(MailboxLost, match="FETCH could not be understood"):
                await session.fetch("INBOX", 5)
            with pytest.raises(MailboxLost):
                await session.uids("INBOX")

    async def test_some_are_gone_says_the_server(self) -> None:
        async with session_with(
            opening(),
            SELECTED,
            self.ASK.format("5,7"),
            self.fetched(7) + b"# NO [EXPUNGEISSUED] Some messages are gone\r\n",
            LOGOUT,
        ) as session:
            assert [f.uid for f in await session.headers("INBOX", [5, 7])] == [7]

    async def test_search_finds_substrings(self) -> None:
        def part(uid: int, header: bytes) -> bytes:
            head = b"* 1 FETCH (UID %d BODY[HEADER.FIELDS (MESSAGE-ID)] {%d}\r\n"
            return head % (uid, len(header)) + header + b")\r\n"

        async with session_with(
            opening(),
            SELECTED,
            """
            C: UID SEARCH UID 1:* OR HEADER Message-ID "<1@x>" HEADER Message-ID "<2@x>"
            S: * SEARCH 4 5
            S: * SEARCH 9
            S: # OK
            C: UID FETCH 4:5,9 (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])
            """,
            part(4, b"Message-ID: <1@xx>\r\n\r\n"),
            part(5, b"message-id:\r\n <1@x>\r\n\r\n"),
            part(9, b"\r\n") + b"# OK\r\n",
            LOGOUT,
        ) as session:
            assert await session.find("INBOX", ["<1@x>", "<2@x>"]) == {"<1@x>": 5}

    async def test_the_last_mail_is_found_whatever_was_asked(self) -> None:
        # 5000:* is *:5000 where the last UID is 12.
        async with session_with(
            opening(),
            SELECTED,
            "C: UID SEARCH UID 5000:* UNDELETED",
            "S: * SEARCH 12",
            "S: # OK",
            LOGOUT,
        ) as session:
            assert await session.uids("INBOX", from_uid=5000) == []

    async def test_throttled(self) -> None:
        async with session_with(
            opening(),
            'C: STATUS "INBOX" (UIDVALIDITY UIDNEXT)',
            "S: # BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds",
            'C: STATUS "INBOX" (UIDVALIDITY UIDNEXT)',
            "S: * STATUS INBOX (UIDNEXT 5 UIDVALIDITY 1 HIGHESTMODSEQ 8)",
            "S: # OK",
            LOGOUT,
        ) as session:
            with pytest.raises(MailboxRefused, match="STATUS INBOX refused") as caught:
                await session.state("INBOX")
            assert caught.value.retry_after == pytest.approx(299.961)
            assert (await session.state("INBOX")).uidnext == 5

    async def test_status_without_numbers(self) -> None:
        async with session_with(
            opening(), "C: STATUS …", "S: * STATUS INBOX (MESSAGES 5)", "S: # OK", LOGOUT
        ) as session:
            with pytest.raises(MailboxRefused, match="told no UIDs"):
                await session.state("INBOX")

    async def test_a_folder_is_selected_again_after_a_refusal(self) -> None:
        search = "C: UID SEARCH UID 1:* UNDELETED\nS: * SEARCH\nS: # OK\n"
        async with session_with(
            opening(),
            SELECTED,
            search,
            'C: SELECT "Sent"',
            "S: # NO [NONEXISTENT] no such mailbox",
            SELECTED,
            search,
            "C: NOOP",
            "S: # OK",
            search,
            LOGOUT,
        ) as session:
            await session.uids("INBOX")
            with pytest.raises(MailboxRefused) as caught:
                await session.uids("Sent")
            assert caught.value.code == "NONEXISTENT"
            await session.uids("INBOX")
            await session.uids("INBOX")


class TestServersThatLackThings:
    async def test_append_with_nothing(self) -> None:
        async with session_with(
            opening(),
            f"""
            C: APPEND "INBOX" (\\Seen) {WIRE_DATE} {{21}}
            S: + go on
            c: Message-ID: <1@x>
            c:
            c:
            S: # OK stored
            C: APPEND "INBOX" () {WIRE_DATE} {{21}}
            S: # NO [OVERQUOTA] Quota exceeded
            """,
            SELECTED,
            "C: UID SEARCH UID 1:* UNDELETED",
            "S: # OK",
            LOGOUT,
        ) as session:
            seen = MailToFile("<1@x>", mail(1).data, DATE, frozenset({"\\Seen"}))
            assert await session.append("INBOX", [seen]) == [None]
            with pytest.raises(MailboxRefused, match="Quota exceeded") as caught:
                await session.append("INBOX", [mail(2), mail(3)])
            assert caught.value.code == "OVERQUOTA"
            assert await session.uids("INBOX") == []

    async def test_append_with_literal_plus(self) -> None:
        one = f"""
            C: APPEND "INBOX" () {WIRE_DATE} {{21+}}
            c: Message-ID: <%d@x>
            c:
            c:
            S: # OK [APPENDUID 7 %d] done
        """
        async with session_with(
            opening("LITERAL+ UIDPLUS"), one % (1, 41), one % (2, 42), LOGOUT
        ) as session:
            assert await session.append("INBOX", [mail(1), mail(2)]) == [41, 42]

    @pytest.mark.parametrize(
        ("told", "uids"),
        [
            ("[APPENDUID 7 41:43] done", [41, 42, 43]),
            ("[APPENDUID 7 41,44:45] done", [41, 44, 45]),
            ("[appenduid 7 43:41] done", [41, 42, 43]),
            ("[APPENDUID 7 41] done", [None] * 3),
            ("[APPENDUID 7 1:4294967295] done", [None] * 3),
            ("[APPENDUID 7 :,] done", [None] * 3),
            ("done", [None] * 3),
        ],
    )
    async def test_append_of_many_at_once(self, told: str, uids: list[int | None]) -> None:
        async with session_with(
            opening("LITERAL+ MULTIAPPEND"),
            f"""
            C: APPEND "INBOX" () {WIRE_DATE} {{21+}}
            c: Message-ID: <1@x>
            c:
            c:  () {WIRE_DATE} {{21+}}
            c: Message-ID: <2@x>
            c:
            c:  () {WIRE_DATE} {{21+}}
            c: Message-ID: <3@x>
            c:
            c:
            S: # OK {told}
            """,
            LOGOUT,
        ) as session:
            assert await session.append("INBOX", [mail(1), mail(2), mail(3)]) == uids

    async def test_a_lost_append(self) -> None:
        async with session_with(
            opening("LITERAL+ MULTIAPPEND"), "C: APPEND …", "c: Message-ID: <1@x>", "RESET"
        ) as session:
            with at_most(4), pytest.raises(MailboxLost):
                await session.append("INBOX", [mail(1), mail(2)])

    MOVE = 'C: UID MOVE 4:5 "Clos"\nS: * OK [COPYUID 1 4:5 1:2]\nS: * 1 EXPUNGE\nS: # OK\n'
    COPY = 'C: UID COPY 4:5 "Clos"\nS: # OK\n'
    MARK = "C: UID STORE 4:5 +FLAGS.SILENT (\\Deleted)\nS: # OK\n"
    EXPUNGE = "C: UID EXPUNGE 4:5\nS: * 1 EXPUNGE\nS: # OK\n"

    @pytest.mark.parametrize(
        ("offered", "said"),
        [("MOVE", MOVE), ("UIDPLUS", COPY + MARK + EXPUNGE), ("", COPY + MARK)],
    )
    async def test_move(self, offered: str, said: str) -> None:
        async with session_with(opening(offered), SELECTED, said, LOGOUT) as session:
            await session.move("INBOX", [5, 4, 4], "Clos")

    async def test_a_copy_that_is_refused_deletes_nothing(self) -> None:
        async with session_with(
            opening("UIDPLUS"),
            SELECTED,
            'C: UID COPY 4 "Clos"',
            "S: # NO [TRYCREATE] no such mailbox",
            LOGOUT,
        ) as session:
            with pytest.raises(MailboxRefused, match="COPY INBOX to Clos") as caught:
                await session.move("INBOX", [4], "Clos")
            assert caught.value.code == "TRYCREATE"

    async def test_no_command_names_more_than_400_uids(self) -> None:
        store = "C: UID STORE {} +FLAGS.SILENT (\\Seen)\nS: # OK\n"
        async with session_with(
            opening(),
            SELECTED,
            store.format("1:400") + store.format("401:800") + store.format("801:900"),
            LOGOUT,
        ) as session:
            await session.add_flags("INBOX", range(900, 0, -1), ["\\Seen"])

    async def test_special_use_on_request(self) -> None:
        async with session_with(
            opening("SPECIAL-USE LIST-EXTENDED"),
            'C: LIST "" "*" RETURN (SPECIAL-USE)',
            'S: * LIST (\\HasNoChildren \\Sent) "/" "[Gmail]/Messages envoy&AOk-s"',
            'S: * LIST (\\HasNoChildren \\all) "/" "[Gmail]/Tous les messages"',
            'S: * LIST (\\HasChildren \\Noselect) "/" "[Gmail]"',
            'S: * LIST (\\HasNoChildren) "/" INBOX',
            "S: # OK",
            LOGOUT,
        ) as session:
            assert await session.folders() == (
                Folder("[Gmail]/Messages envoyés", SpecialUse.SENT),
                Folder("[Gmail]/Tous les messages", SpecialUse.ALL),
                Folder("INBOX"),
            )

    async def test_special_use_unasked_and_guessed(self) -> None:
        # Exchange marks what it knows and announces nothing; a client made the other one.
        async with session_with(
            opening(),
            'C: LIST "" "*"',
            'S: * LIST (\\HasNoChildren \\Sent) "/" "Sent Items"',
            'S: * LIST (\\HasNoChildren) "/" "&AMk-l&AOk-ments envoy&AOk-s"',
            'S: * LIST (\\HasNoChildren) "/" Brouillons',
            'S: * LIST (\\HasNoChildren) "/" "Clients/Sent"',
            'S: * LIST (\\HasNoChildren) "/" "a * b"',
            'S: * LIST (\\HasNoChildren) "/" "not utf-7 &"',
            b'* LIST () "/" {11}\r\nStar * "x" \r\n* LIST () NIL inbox\r\n# OK\r\n',
            LOGOUT,
        ) as session:
            assert await session.folders() == (
                Folder("Sent Items", SpecialUse.SENT),
                Folder("Éléments envoyés", SpecialUse.SENT, guessed=True),
                Folder("Brouillons", SpecialUse.DRAFTS, guessed=True),
                Folder("Clients/Sent"),
                Folder("a * b"),
                Folder('Star * "x" '),
                Folder("INBOX"),
            )


class TestNamespaces:
    def signed_in(self, namespace: str) -> str:
        return re.sub(
            r'C: LIST "" ""\s+S: \* LIST.*',
            f"C: NAMESPACE\nS: * NAMESPACE {namespace}",
            opening("NAMESPACE"),
        )

    async def test_below_inbox_with_dots(self) -> None:
        # Courier, and OVH's older mailboxes.
        async with session_with(
            self.signed_in('(("INBOX." ".")) NIL (("#shared." ".")("shared." "."))'),
            """
            C: LIST "" "*"
            S: * LIST (\\HasChildren) "." "INBOX"
            S: * LIST (\\HasNoChildren) "." "INBOX.Envoy&AOk-s"
            S: * LIST (\\HasNoChildren) "." "INBOX.SAV.Clos"
            S: * LIST (\\HasNoChildren) "." "shared.info"
            S: # OK
            C: LIST "" "INBOX.SAV.R&AOk-gl&AOk-"
            S: # OK
            C: CREATE "INBOX.SAV.R&AOk-gl&AOk-"
            S: # OK
            C: SUBSCRIBE "INBOX.SAV.R&AOk-gl&AOk-"
            S: # OK
            C: STATUS "INBOX.SAV.Clos" (UIDVALIDITY UIDNEXT)
            S: * STATUS "INBOX.SAV.Clos" (UIDVALIDITY 7 UIDNEXT 1)
            S: # OK
            C: STATUS "INBOX" (UIDVALIDITY UIDNEXT)
            S: # NO
            C: STATUS "shared.info" (UIDVALIDITY UIDNEXT)
            S: # NO
            """,
            LOGOUT,
        ) as session:
            assert await session.folders() == (
                Folder("INBOX"),
                Folder("Envoyés", SpecialUse.SENT, guessed=True),
                Folder("SAV/Clos"),
            )
            await session.ensure_folder("SAV/Réglé")
            await session.state("SAV/Clos")
            for name in ("Inbox", "shared.info"):
                with pytest.raises(MailboxRefused):
                    await session.state(name)

    @pytest.mark.parametrize(
        ("namespace", "raw"),
        [
            ('(("" "/")) NIL NIL', "SAV/Clos"),
            ('(("" "/")("#mh/" "/" "X-PARAM" ("F1" "F2"))) (("~" "/")) NIL', "SAV/Clos"),
            ('(("INBOX." ".")) (("user." ".")) (("" "."))', "INBOX.SAV.Clos"),
            ("NIL NIL NIL", "SAV/Clos"),
            ('((("" "/")', "SAV/Clos"),
        ],
    )
    async def test_others(self, namespace: str, raw: str) -> None:
        # Where no namespace is told, the delimiter is asked for.
        ask = 'C: LIST "" ""\nS: * LIST () "/" ""\nS: # OK' if "NIL NIL NIL" in namespace else ""
        async with session_with(
            self.signed_in(namespace),
            ask,
            f'C: STATUS "{raw}" (UIDVALIDITY UIDNEXT)',
            "S: * STATUS x (UIDVALIDITY 7 UIDNEXT 1)",
            "S: # OK",
            LOGOUT,
        ) as session:
            assert (await session.state("SAV/Clos")).uidvalidity == 7

    async def test_create_lost_a_race(self) -> None:
        async with session_with(
            opening(),
            """
            C: LIST "" "Clos"
            S: # OK
            C: CREATE "Clos"
            S: # NO Mailbox exists
            C: LIST "" "Clos"
            S: * LIST () "/" Clos
            S: # OK
            C: SUBSCRIBE "Clos"
            S: # OK
            """,
            LOGOUT,
        ) as session:
            await session.ensure_folder("Clos")

    async def test_create_is_refused(self) -> None:
        async with session_with(
            opening(),
            """
            C: LIST "" "Clos"
            S: # OK
            C: CREATE "Clos"
            S: # NO [NOPERM] not allowed
            C: LIST "" "Clos"
            S: # OK
            """,
            LOGOUT,
        ) as session:
            with pytest.raises(MailboxRefused, match=r"CREATE Clos refused.*not allowed"):
                await session.ensure_folder("Clos")
