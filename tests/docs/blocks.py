"""The executable blocks of a Markdown file, in order.

    <!-- file: my_strategy.py -->      the next block is written to that file, and run by a command below it
    <!-- not run: reason -->           the next block is not executed; five in the whole tree, at most
    <!-- exit: 2 -->                   the commands of the next console block end with this code instead of 0

Guarantees: a block is found wherever Markdown allows one, in lists too.
Does not: execute anything (see ``test_docs``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

MARKER = re.compile(r"<!--\s*(file|not run|exit):\s*(.*?)\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block, with the options in the comments before it."""

    path: Path
    line: int
    language: str
    text: str
    file: str | None = None
    not_run: str | None = None
    exit_code: int = 0

    def __str__(self) -> str:
        """Where the block stands, as an editor understands it."""
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a console block and the output that is shown for it."""

    text: str
    shown: str


def blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a Markdown file; a marker belongs to the block that follows it directly."""
    found: list[Block] = []
    markers: dict[str, str] = {}
    for token in MarkdownIt("commonmark").parse(path.read_text()):
        if token.type == "html_block":
            markers |= dict(MARKER.findall(token.content))
        elif token.type == "fence":
            first_line = (token.map or [0])[0] + 1
            found.append(
                Block(
                    path,
                    first_line,
                    token.info.split()[0] if token.info.strip() else "",
                    token.content,
                    file=markers.get("file"),
                    not_run=markers.get("not run"),
                    exit_code=int(markers.get("exit", "0")),
                )
            )
            markers = {}
        elif token.type == "inline":
            markers = {}
    return found


def commands(text: str) -> list[Command]:
    """Split a console block into its commands; a line that ends with a backslash goes on in the next one."""
    found: list[Command] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], ""))
        elif not found:
            raise ValueError(f"a console block begins with a command, '$ ...', not with {line!r}")
        elif found[-1].text.endswith("\\") and not found[-1].shown:
            found[-1] = Command(found[-1].text + "\n" + line, "")
        else:
            found[-1] = Command(found[-1].text, found[-1].shown + line + "\n")
    return found


def matches(shown: str, printed: str) -> bool:
    """Whether an output is the one that is shown; ``...`` stands for anything, and spaces are not counted."""
    first, *others = (" ".join(part.split()) for part in shown.split("..."))
    text = " ".join(printed.split())
    if not others:
        return text == first
    if not text.startswith(first):
        return False
    at = len(first)
    # The leftmost place is the best one for each part: it leaves the most to those after it.
    for part in others[:-1]:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return text.endswith(others[-1]) and len(text) - len(others[-1]) >= at
