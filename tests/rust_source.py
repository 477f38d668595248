"""Reads Rust source without a compiler: which file uses which, and how long functions are.

::

    use crate::a::{b::C, D} ─▶ paths ─▶ the files that hold C and D, through what a mod.rs re-exports

Guarantees: comments, strings and a file's own unit tests count as nothing.
Does not: see methods: an ``impl`` block in another file needs no path to its type's other blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Module = tuple[str, ...]

_NOT_CODE = re.compile(r"""//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])'""", re.DOTALL)
_UNIT_TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod tests\b.*", re.DOTALL)
_USE = re.compile(r"\b(pub(?:\([a-z]+\))?\s+)?use\s+([^;]+);")
_INLINE_PATH = re.compile(r"\b(?:crate|super)(?:::\w+)+")
_OPENING, _CLOSING = "([{<", ")]}>"


def stripped(text: str) -> str:
    """The text with its comments and strings blanked; line breaks stay."""
    return _NOT_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)


class Crate:
    """The source files of a crate, by the path of their module."""

    def __init__(self, source: Path) -> None:
        self._text: dict[Module, str] = {}
        self._exported: dict[Module, dict[str, str]] = {}
        for path in sorted(source.rglob("*.rs")):
            module = path.relative_to(source).with_suffix("").parts
            is_parent = module[-1] in {"mod", "lib"}
            text = _UNIT_TESTS.sub("", stripped(path.read_text()))
            exports = {leaf for is_public, tree in _USE.findall(text) if is_public for leaf in leaves(tree)}
            self._text[module[:-1] if is_parent else module] = text
            self._exported[module[:-1] if is_parent else module] = {leaf.rpartition("::")[2]: leaf for leaf in exports}

    def uses(self) -> dict[Module, set[Module]]:
        """For each file, the files whose items it names; what a file re-exports is no use of its own."""
        return {module: self._used_by(module, text) for module, text in self._text.items()}

    def _used_by(self, module: Module, text: str) -> set[Module]:
        paths = [leaf for is_public, tree in _USE.findall(text) if not is_public for leaf in leaves(tree)]
        paths += _INLINE_PATH.findall(_USE.sub("", text))
        found = {self._holder(module, path) for path in paths if re.match(r"(?:crate|super|self)::", path)}
        return found - {module}

    def _holder(self, module: Module, path: str) -> Module:
        """The file that holds what a path names, as seen from a file."""
        words = path.split("::")
        at: Module = () if words[0] == "crate" else module
        for number, word in enumerate(words):
            if word in {"crate", "self"}:
                continue
            if word == "super":
                at = at[:-1]
            elif (*at, word) in self._text:
                at = (*at, word)
            elif word in self._exported.get(at, {}) and number:
                leaf = self._exported[at][word]
                return self._holder(at, leaf if re.match(r"(?:crate|super|self)::", leaf) else f"self::{leaf}")
            else:
                break
        return at


def leaves(tree: str) -> list[str]:
    """The paths of a use tree: ``a::{b, c::D}`` is ``a::b`` and ``a::c::D``."""
    head, brace, rest = tree.strip().partition("{")
    if not brace:
        return [head.partition(" as ")[0].strip()]
    return [head + leaf for part in parts(rest[: rest.rindex("}")]) for leaf in leaves(part)]


def parts(text: str) -> list[str]:
    """The text cut at its commas, but not inside of brackets."""
    found, depth, part = [], 0, ""
    for number, char in enumerate(text):
        is_arrow = char == ">" and text[number - 1] in "-="
        depth += (char in _OPENING) - (char in _CLOSING and not is_arrow)
        if char == "," and depth == 0:
            found.append(part)
            part = ""
        else:
            part += char
    return [part.strip() for part in (*found, part) if part.strip()]


def circles(uses: Mapping[Module, set[Module]]) -> list[str]:
    """The files that reach themselves by what they use, each with the files on the way."""
    found = []
    for start in uses:
        ways: dict[Module, list[Module]] = {used: [used] for used in uses[start]}
        queue = list(ways)
        while queue and start not in ways:
            at = queue.pop(0)
            for used in uses.get(at, set()) - ways.keys():
                ways[used] = [*ways[at], used]
                queue.append(used)
        if start in ways:
            found.append(" -> ".join("::".join(module) for module in (start, *ways[start])))
    return found


@dataclass(frozen=True)
class Function:
    """A function: how many parameters it has, ``self`` included, and how many lines its body."""

    name: str
    parameters: int
    lines: int


def functions(text: str) -> Iterator[Function]:
    """Every function with a body, closures apart."""
    text = stripped(text)
    for found in re.finditer(r"\bfn\s+(\w+)", text):
        after = _end(text, found.end()) if text[found.end()] == "<" else found.end()
        if text[after] != "(":
            continue
        end = _end(text, after)
        body = end
        while text[body] not in "{;":
            # An array that is returned has a semicolon of its own.
            body = _end(text, body) if text[body] == "[" else body + 1
        if text[body] == "{":
            lines = text.count("\n", body, _end(text, body)) - 1
            yield Function(found.group(1), len(parts(text[after + 1 : end - 1])), lines)


def _end(text: str, opening: int) -> int:
    """The place behind the bracket that closes the one at ``opening``."""
    pair = text[opening] + _CLOSING[_OPENING.index(text[opening])]
    depth = 0
    for place in range(opening, len(text)):
        if text[place] == pair[0]:
            depth += 1
        elif text[place] == pair[1] and text[place - 1] not in "-=":
            depth -= 1
            if depth == 0:
                return place + 1
    return len(text)
