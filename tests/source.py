"""The package's own source as a value: which module imports what. Nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "Import", "imports", "modules"]

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Import:
    """One import, wherever it stands in its file; `TYPE_CHECKING` ones count too."""

    file: str
    line: int
    target: str
    """Dotted name as far as it can be a module: `mailbridge.domain.order`."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.target}"


@cache
def modules() -> frozenset[str]:
    """Dotted names of all modules and packages of `mailbridge`."""
    found = set()
    for path in (ROOT / "mailbridge").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return frozenset(found)


@cache
def imports() -> tuple[Import, ...]:
    """Every import of the package, by file and line."""
    found: list[Import] = []
    for path in sorted((ROOT / "mailbridge").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        package = file.removesuffix(".py").split("/")[:-1]
        for node in ast.walk(tree):
            line = getattr(node, "lineno", 0)
            found += [Import(file, line, target) for target in _targets(node, package)]
    return tuple(found)


def _targets(node: ast.AST, package: list[str]) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            base = package[: len(package) - level + 1] if level else []
            source = ".".join([*base, *([module] if module else [])])
            for alias in names:
                # `from mailbridge.domain import closing` is an import of the module.
                inner = f"{source}.{alias.name}"
                yield inner if inner in modules() else source
