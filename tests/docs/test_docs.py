"""What the documentation shows is what happens: its python and console blocks are executed here.

The blocks of one file run in order, in one namespace and one folder that is new and empty, as a reader would try them.
Guarantees: a shown output is compared; a block that is left out says why.
Does not: check prose.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import headrace.examples
from tests.docs.blocks import Block, Command, blocks, commands, matches

ROOT = Path(__file__).resolve().parents[2]
AT_THE_ROOT = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benches/README.md")]
PAGES = [*AT_THE_ROOT, *sorted((ROOT / "docs").rglob("*.md"))]
EXECUTED = {"python", "console"}
# Other names for these languages, which this test would not find.
OTHER_NAMES = {"py", "python3", "pycon", "bash", "sh", "shell", "zsh", "shell-session"}
NOT_RUN_MAX = 5
COMMAND_TIMEOUT_S = 120
# How far a command is, which it says on a machine that is slow.
PROGRESS = re.compile(r"^[a-z ]+: +\d+% .*\n", re.MULTILINE)


def blocks_of(path: Path) -> list[Block]:
    """The blocks of a page, which lies outside the folder of built documentation."""
    return [] if "_build" in path.parts or not path.exists() else blocks(path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_do_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # A module of its own, where annotations are looked up as in a reader's file.
    module = type(sys)(f"{page.stem}_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks_of(page):
        if block.file:
            # A command below runs it, in a process of its own.
            (tmp_path / block.file).write_text(block.text)
        if block.file or block.not_run:
            continue
        if block.language == "python":
            # Padding puts the page's own line numbers into a traceback.
            exec(compile("\n" * block.line + block.text, str(block.path), "exec"), vars(module))
            capsys.readouterr()
        elif block.language == "console":
            for command in commands(block.text):
                execute(block, command, tmp_path)


def execute(block: Block, command: Command, folder: Path) -> None:
    """Run one command the way a reader's shell would, with our environment active."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "COLUMNS": "120",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == block.exit_code, f"{block}: {command.text} ended with {done.returncode}:\n{done.stdout}"
    if command.shown.strip():
        assert matches(command.shown, PROGRESS.sub("", done.stdout)), (
            f"{block}: {command.text} printed\n{done.stdout}\nnot\n{command.shown}"
        )


def test_the_data_of_the_tutorial_are_small() -> None:
    (sample,) = Path(headrace.examples.__file__).parent.glob("*.zip")
    assert sample.stat().st_size < 200_000


def test_there_are_pages_with_blocks_to_execute() -> None:
    assert any(block.language in EXECUTED for page in PAGES for block in blocks_of(page))


def test_at_most_five_blocks_are_not_run_each_with_a_reason() -> None:
    left_out = [block for page in PAGES for block in blocks_of(page) if block.not_run is not None]
    assert len(left_out) <= NOT_RUN_MAX, [str(block) for block in left_out]
    assert not [str(block) for block in left_out if not block.not_run]


def test_a_block_written_to_a_file_is_run_by_a_later_command() -> None:
    idle = []
    for page in PAGES:
        found = blocks_of(page)
        for index, block in enumerate(found):
            below = "".join(later.text for later in found[index:] if later.language == "console" and not later.not_run)
            if block.file and Path(block.file).stem not in below:
                idle.append(str(block))
    assert not idle


def test_no_block_hides_under_another_name() -> None:
    hidden = [str(block) for page in PAGES for block in blocks_of(page) if block.language in OTHER_NAMES]
    assert not hidden


def test_blocks_are_found_with_their_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text\n\n<!-- not run: needs a venue -->\n```console\n$ a\n```\n\n"
        "- item\n\n  <!-- file: s.py -->\n  ```python\n  x = 1\n  ```\n\n"
        "<!-- exit: 2 -->\n```console\n$ b\n```\n\n```python\ny = 2\n```\n"
    )
    first, second, third, fourth = blocks(page)
    assert (first.language, first.not_run, first.line) == ("console", "needs a venue", 4)
    assert (second.language, second.file, second.text, second.not_run) == ("python", "s.py", "x = 1\n", None)
    assert third.exit_code == 2
    assert (fourth.file, fourth.not_run, fourth.exit_code) == (None, None, 0)


def test_a_marker_far_above_a_block_does_not_leave_it_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: reason -->\n\nProse.\n\n```python\nx = 1\n```\n")
    assert blocks(page)[0].not_run is None


def test_commands_are_split_with_their_output() -> None:
    assert commands("$ a \\\n    b\nout\nmore\n$ c\n") == [Command("a \\\n    b", "out\nmore\n"), Command("c", "")]
    with pytest.raises(ValueError, match="begins with a command"):
        commands("a\n")


def test_shown_output_matches_loosely_but_not_anything() -> None:
    assert matches("ticks  1,000\n...\ndone\n", "ticks 1,000\nand 7 more\ndone\n")
    assert matches("ticks ... done", "ticks 1 done\n")
    assert matches("...", "")
    assert not matches("ticks 1", "ticks 2")
    assert not matches("ticks 1", "ticks 1\nerror")
    assert not matches("a ... " * 40 + "b", "a " * 2_000)
