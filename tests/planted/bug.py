"""One planted bug: a file of two header lines and three more, which stays valid when code moves.

    # law: The writer waits for gated readers.         the sentence that the bug breaks
    # test: cargo test -p headrace-lockfree gated      the shell command that must fail, run at the root of the copy
    # fast                                             three of them: `make test` runs those
    Writer::rescan                                     the qualified name of a function
    let gate = self.gating.min_position();             the line that stands there, exactly once
    let gate = self.next;                              the line that replaces it, at the same indentation

Where one line cannot express the bug, `replace:` stands below the name, and below that the whole function from its
signature on. Decorators, attributes and documentation stay. To delete a line, replace it by `pass` or by `//`.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tests.planted.sources import LookupFailedError, Sources

WHOLE_FUNCTION = "replace:"
LINE_FOR_LINE = 3


class BrokenBugError(Exception):
    """The bug was not really planted, or its test could not judge it."""


@dataclass(frozen=True)
class Planted:
    """The file that a bug changes, and what it holds then."""

    path: Path
    text: str


@dataclass(frozen=True)
class Bug:
    """What is broken, where, and which test must fail."""

    path: Path
    law: str
    test: str
    function: str
    # Of a bug that replaces the whole function, `old` is None.
    old: str | None
    new: str
    fast: bool = False

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @classmethod
    def read(cls, path: Path) -> Bug:
        """Read a file; raise BrokenBugError when a part is missing or unknown."""
        lines = path.read_text().splitlines()
        header_lines = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
        header, body = lines[:header_lines], lines[header_lines:]
        fields = {key.strip(): value.strip() for key, _, value in (line[1:].partition(":") for line in header)}
        if unknown := fields.keys() - {"law", "test", "fast"}:
            raise BrokenBugError(f"{path.name}: the header has unknown lines: {', '.join(sorted(unknown))}")
        if not fields.get("law") or not fields.get("test"):
            raise BrokenBugError(f"{path.name}: the header needs a `# law:` and a `# test:` line")
        whole = len(body) >= LINE_FOR_LINE and body[1].strip() == WHOLE_FUNCTION
        if not whole and (len(body) != LINE_FOR_LINE or not all(line.strip() for line in body)):
            raise BrokenBugError(
                f"{path.name}: below the header stand three lines: a function's name, a line of it, the new line; "
                f"or the name, `{WHOLE_FUNCTION}` and the new function"
            )
        function, old = body[0].strip(), None if whole else body[1].strip()
        new = "\n".join(body[2:]) if whole else body[2].strip()
        return cls(path, fields["law"], fields["test"], function, old, new, "fast" in fields)

    def plant(self, sources: Sources) -> Planted:
        """Return the changed file; raise BrokenBugError unless the function and the line are there exactly once."""
        try:
            function = sources.find(self.function)
        except LookupFailedError as error:
            raise BrokenBugError(f"{self.path.name}: {error}") from None
        lines = function.path.read_text().splitlines()
        body = lines[function.start : function.stop]
        changed = self._whole(body) if self.old is None else self._one_line(body, self.old)
        if changed == body:
            raise BrokenBugError(f"{self.path.name}: nothing changes: the new text is the old one")
        text = "\n".join([*lines[: function.start], *changed, *lines[function.stop :]]) + "\n"
        if function.path.suffix == ".py":
            try:
                ast.parse(text)
            except SyntaxError as error:
                raise BrokenBugError(f"{self.path.name}: the changed function is no Python: {error}") from None
        return Planted(function.path, text)

    def _one_line(self, body: list[str], old: str) -> list[str]:
        """Replace the one line of a function that is `old`."""
        found = [number for number, line in enumerate(body) if line.strip() == old]
        if len(found) != 1:
            problem = f"the line stands {len(found)} times in {self.function}, not once: {old}"
            raise BrokenBugError(f"{self.path.name}: {problem}")
        return [*body[: found[0]], indentation(body[found[0]]) + self.new, *body[found[0] + 1 :]]

    def _whole(self, body: list[str]) -> list[str]:
        """Replace a function by the new text, moved to where the function begins."""
        return textwrap.indent(textwrap.dedent(self.new), indentation(body[0])).splitlines()


def indentation(line: str) -> str:
    """Return the white space before a line."""
    return line[: len(line) - len(line.lstrip())]
