"""The words that commands are called by: ours in French and English, and the shop's own.

The vocabulary is closed: what is not in it is no command, and a word nearly in it is one mistyped,
which holds the mail. What may stand behind a word, and where, is `command`'s business.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mailbridge.domain.wording import fold_line

__all__ = ["Verb", "Vocabulary", "bare_word"]


class Verb(StrEnum):
    """What a command asks for."""

    CLOSE = "close"
    REOPEN = "reopen"
    NOTE = "note"
    TEMPLATE = "template"
    REFUND = "refund"
    GESTURE = "gesture"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    SEND = "send"
    RESEND = "resend"
    HELP = "help"
    ORDER = "order"


# The first word is the one that notices name.
_WORDS: Mapping[Verb, tuple[str, ...]] = {
    Verb.CLOSE: (
        "clos", "clore", "close", "clôturer", "clôture", "clôturé", "fermer", "ferme", "fermé",
        "fermée", "résolu", "résolue", "résoudre", "closed", "solved", "resolved",
    ),
    Verb.REOPEN: ("rouvrir", "réouvrir", "rouvert", "réouvert", "rouvre", "reopen"),
    Verb.NOTE: ("note", "interne", "internal"),
    Verb.TEMPLATE: ("modèle", "template"),
    Verb.REFUND: ("rembourser", "rembourse", "remboursement", "refund"),
    Verb.GESTURE: ("geste", "gesture"),
    Verb.CONFIRM: ("confirmer", "confirme", "confirm"),
    Verb.CANCEL: ("annuler", "annule", "cancel"),
    Verb.SEND: ("envoyer", "envoie", "send", "release"),
    Verb.RESEND: ("renvoyer", "renvoie", "resend"),
    Verb.HELP: ("aide", "help"),
    Verb.ORDER: ("commande", "order"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words (folded: no accents, lower case) and the verbs they stand for."""

    words: Mapping[str, Verb]

    @classmethod
    def default(cls) -> Vocabulary:
        """French and English words of our own."""
        return cls({bare_word(w): verb for verb, words in _WORDS.items() for w in words})

    def with_words(self, further: Mapping[str, Iterable[str]]) -> Vocabulary:
        """Also these words, keyed by the command's English name (`close`) or French word.

        Raises ValueError, naming the command and the word, for an unknown command, a word that
        is not one word of letters, and a word that already stands for another command.
        """
        words = dict(self.words)
        for name, more in further.items():
            verb = self._named(name)
            for word in more:
                key = bare_word(fold_line(word).lstrip("!#"))
                if not re.fullmatch(r"[^\W\d_][\w'-]{0,31}", key):
                    raise ValueError(f"{name}: {word!r} is not a single word")
                if words.get(key, verb) is not verb:
                    raise ValueError(f"{name}: {word!r} already stands for {words[key]}")
                words[key] = verb
        return Vocabulary(words)

    def _named(self, name: str) -> Verb:
        key = bare_word(name)
        if key in [verb.value for verb in Verb]:
            return Verb(key)
        if key in self.words:
            return self.words[key]
        raise ValueError(f"{name}: no such command; known are {', '.join(Verb)}")

    @staticmethod
    def name(verb: Verb) -> str:
        """The word that our own texts call this command by, without its sign."""
        return _WORDS[verb][0]

    def near(self, word: str) -> Verb | None:
        """The verb that a mistyped word most likely means; None for a word unlike any."""
        if len(word) > 24:
            return None
        best: tuple[int, Verb] | None = None
        for known, verb in self.words.items():
            allowed = 1 if len(known) <= 6 else 2
            if abs(len(known) - len(word)) > allowed:
                continue
            away = _distance(word, known)
            if away <= allowed and (best is None or away < best[0]):
                best = (away, verb)
        return best[1] if best else None


def bare_word(word: str) -> str:
    """Lower case, without accents; typographic apostrophes made plain."""
    apart = unicodedata.normalize("NFKD", word.casefold().replace("’", "'"))
    return "".join(c for c in apart if not unicodedata.combining(c))


def _distance(one: str, other: str) -> int:
    """Edits (insert, delete, replace, swap of neighbours) between two short words."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if last and i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
