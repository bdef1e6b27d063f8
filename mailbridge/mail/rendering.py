"""Where templates come from and how they are rendered: sandboxed, strict, one at a time.

A shop may put its own templates into a folder; a file there replaces the shipped one of the same
name, or extends it (`{% extends "shipped/mail/fr/hold.j2" %}`) to change a single block. One that
is broken raises `TemplateBroken`, which names file and line, and `Templates.render` then takes
the shipped one and reports the fault: a typing mistake must never stop a customer's message.
Reply templates (`replies/`) never fall back: their words go to a customer, and the shop's own are
meant. What templates say is `templates/`'s business; what they are given is `compose`'s and
`reply_values`'s.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
    meta,
    pass_context,
)
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

__all__ = ["Rendered", "TemplateBroken", "Templates", "front_matter", "shipped_folder"]

Check = Callable[[str], str | None]

_LONGEST_REASON = 200
_FENCE = "+++"
_FILTERS = ("day", "moment", "money", "listed")
"""Each is the function of that name that the context holds: language and zone are its own."""


class TemplateBroken(Exception):
    """A template could not be rendered. Holds no value that was put into it.

    `name` is the template's path below the templates folder, `line` its line (0 if unknown).
    """

    def __init__(self, name: str, line: int, reason: str) -> None:
        super().__init__(f"template {name}, line {line}: {reason}" if line else f"{name}: {reason}")
        self.name = name
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered text; `problem` says which template of the shop's own had to be passed over."""

    text: str
    problem: TemplateBroken | None = None


def shipped_folder() -> Path:
    """The templates that come with mailbridge: in the package, or in a checkout beside it."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "templates", package.parent / "templates"):
        if (folder / "mail").is_dir():
            return folder
    raise FileNotFoundError("mailbridge's own templates are missing: install the package again")


def front_matter(source: str) -> tuple[str | None, str]:
    """The lines between a file's first line `+++` and the next one, and all that follows.

    None where the file begins otherwise or the second `+++` is missing. The text that follows
    keeps its line numbers: blank lines stand where the front matter was.
    """
    lines = source.removeprefix("\ufeff").split("\n")
    fences = [i for i, line in enumerate(lines) if line.rstrip() == _FENCE]
    if len(fences) < 2 or fences[0] != 0:
        return None, source
    end = fences[1]
    return "\n".join(lines[1:end]), "\n" * (end + 1) + "\n".join(lines[end + 1 :])


class _Files(FileSystemLoader):
    """A folder of templates; the front matter of reply templates is no part of their text."""

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        source, path, fresh = super().get_source(environment, template)
        return (front_matter(source)[1] if template.startswith("replies/") else source), path, fresh


class _Sandbox(SandboxedEnvironment):
    """No attribute that leads out of the values given, and no text blown up by an operator."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or any(isinstance(side, str | list | tuple) for side in (left, right)):
            raise SecurityError(f"a template may not use {operator} here")
        return super().call_binop(context, operator, left, right)


def _filter(name: str) -> Callable[..., Any]:
    @pass_context
    def apply(context: Context, value: Any, *arguments: Any) -> Any:
        return context[name](value, *arguments)

    return apply


class _Gap(Undefined):
    """Stands for a missing value where showing the rest matters more: prints an ellipsis."""

    def __str__(self) -> str:
        return "…"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    __getitem__ = __getattr__

    def __html__(self) -> str:
        return "…"


class Templates:
    """The shipped templates and, before them, those of the shop's own folder."""

    def __init__(self, own: Path | None = None, *, shipped: Path | None = None) -> None:
        """`own` is `templates_dir` of the configuration; `shipped` is given by tests only."""
        self._own = own
        self._shipped = shipped or shipped_folder()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where templates are looked for, the shop's own folder first."""
        return (self._shipped,) if self._own is None else (self._own, self._shipped)

    def render(
        self, name: str, context: Mapping[str, Any], *, check: Check | None = None
    ) -> Rendered:
        """Render `name`, the shop's own if there is one and it works, else the shipped one.

        `check` looks at what the shop's own gave and says what must not be, or None. Only a
        fault in the shipped templates with these very values can leave gaps, shown as `…`; it
        never raises for one, and says so in `problem`.
        """
        problem: TemplateBroken | None = None
        if self._own is not None:
            try:
                text = self._render(self._both, name, context)
                reason = check(text) if check else None
                if reason is None:
                    return Rendered(text)
                problem = TemplateBroken(name, 0, reason)
            except TemplateBroken as broken:
                problem = broken
        try:
            return Rendered(self._render(self._strict, name, context), problem)
        except TemplateBroken as broken:
            return Rendered(self._render(self._lenient, name, context), problem or broken)

    def render_strict(
        self, name: str, context: Mapping[str, Any], *, check: Check | None = None
    ) -> str:
        """As `render`, without falling back: raises TemplateBroken. For `check` and tests."""
        text = self._render(self._both if self._own else self._strict, name, context)
        reason = check(text) if check else None
        if reason is not None:
            raise TemplateBroken(name, 0, reason)
        return text

    def render_line(self, source: str, name: str, context: Mapping[str, Any]) -> str:
        """Render a template written in the configuration; `name` is its key path in errors."""
        try:
            return self._strict.from_string(source).render(context)
        except Exception as exc:
            raise _broken(exc, name) from None

    def names_used(self, name: str) -> frozenset[str]:
        """Every value that a template asks its context for; raises TemplateBroken.

        Of files that it extends or includes nothing is said.
        """
        env = self._both if self._own else self._strict
        try:
            source = env.loader.get_source(env, name)[0] if env.loader else ""
            used = meta.find_undeclared_variables(env.parse(source, name))
            return frozenset(used) - env.globals.keys()
        except Exception as exc:
            raise _broken(exc, name) from None

    def expression_names(self, source: str) -> frozenset[str]:
        """Every value a Jinja2 expression asks for; raises ValueError for what is none."""
        try:
            self._strict.compile_expression(source)
            tree = self._strict.parse("{{" + source + "}}")
            return frozenset(meta.find_undeclared_variables(tree))
        except TemplateSyntaxError as exc:
            raise ValueError(_short(exc.message or "syntax")) from None

    def expression(self, source: str, context: Mapping[str, Any]) -> Any:
        """The value of a Jinja2 expression; None where it asks something of what is not there.

        Raises ValueError, without any value of the context, where there can be no value.
        """
        try:
            value = self._strict.compile_expression(source, undefined_to_none=False)(**context)
        except UndefinedError:
            return None
        except Exception as exc:
            raise ValueError(_short(str(exc) if isinstance(exc, TemplateError) else "")) from None
        if isinstance(value, Undefined):
            if value._undefined_obj is not None:  # noqa: SLF001  documented for subclasses
                raise ValueError(f"there is no {value._undefined_name!r}")  # noqa: SLF001
            return None
        return value

    @staticmethod
    def _render(env: SandboxedEnvironment, name: str, context: Mapping[str, Any]) -> str:
        try:
            return env.get_template(name).render(context)
        except Exception as exc:
            # A template is code of the shop's: whatever it raises is its fault, and only its.
            raise _broken(exc, name) from None

    def _environment(self, loader: BaseLoader, undefined: type[Undefined]) -> SandboxedEnvironment:
        env = _Sandbox(
            loader=loader,
            undefined=undefined,
            autoescape=lambda name: name is not None and name.endswith(".html.j2"),
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,
        )
        env.filters |= {name: _filter(name) for name in _FILTERS}
        return env

    def _shipped_loader(self) -> BaseLoader:
        files = _Files(self._shipped)
        return ChoiceLoader([files, PrefixLoader({"shipped": files})])

    @cached_property
    def _strict(self) -> SandboxedEnvironment:
        return self._environment(self._shipped_loader(), StrictUndefined)

    @cached_property
    def _lenient(self) -> SandboxedEnvironment:
        return self._environment(self._shipped_loader(), _Gap)

    @cached_property
    def _both(self) -> SandboxedEnvironment:
        own = _Files(self._own or self._shipped)
        return self._environment(ChoiceLoader([own, self._shipped_loader()]), StrictUndefined)


def _broken(exc: Exception, asked: str) -> TemplateBroken:
    """What went wrong and where, without any value the template was given."""
    if isinstance(exc, TemplateSyntaxError):
        return TemplateBroken(exc.name or asked, exc.lineno, _short(exc.message or "syntax"))
    if isinstance(exc, TemplateNotFound):
        return TemplateBroken(asked, 0, f"there is no template {_short(str(exc.name))!r}")
    name, line = asked, 0
    for frame, number in traceback.walk_tb(exc.__traceback__):
        template = frame.f_globals.get("__jinja_template__")
        if template is not None:
            name, line = template.name or asked, template.get_corresponding_lineno(number)
        elif "__jinja_exception__" in frame.f_globals:
            # Jinja has put a frame in whose file is the template.
            name, line = _below(frame.f_code.co_filename, asked), number
    # Jinja's own errors name variables and types; others may quote the value itself.
    reason = str(exc) if isinstance(exc, TemplateError) else type(exc).__name__
    return TemplateBroken(name, line, _short(reason))


def _below(path: str, asked: str) -> str:
    """A template's name as people know it: its path from `mail/` or `replies/` on."""
    found = re.search(r"(?:mail|replies)/[\w./-]*\.j2$", path)
    return found[0] if found else asked


def _short(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_REASON]
