"""What is printed may find no room or no reader: a line on stderr, or none, and never "an error of headrace itself"."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.command import COMMAND

VERBS = [["config", "show"], ["--help"], ["--version"], ["fields"], ["doctor"], ["run", "paper.toml"]]
CONFIG = """
[engine]
state_folder = "state"
speed = 1000.0
[[feeds]]
kind = "synthetic"
options = { symbols = ["BTCUSDT"], frames = 100 }
"""


def ended(arguments: list[str], folder: Path, redirected: str) -> subprocess.CompletedProcess[str]:
    """Run a verb with its output redirected by the shell."""
    (folder / "paper.toml").write_text(CONFIG)
    return subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirected}', "sh", *COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )


@pytest.mark.parametrize("arguments", VERBS)
def test_a_full_disk_is_named_as_such(tmp_path: Path, arguments: list[str]) -> None:
    run = ended(arguments, tmp_path, ">/dev/full")
    expected = "headrace: the output cannot be written: No space left on device; check the free space"
    assert (run.returncode, run.stderr.splitlines()[-1]) == (1, expected)
    assert "headrace itself" not in run.stderr


@pytest.mark.parametrize("arguments", VERBS)
def test_a_closed_output_is_no_error(tmp_path: Path, arguments: list[str]) -> None:
    run = ended(arguments, tmp_path, ">&-")
    assert run.returncode == 0
    assert "Error" not in run.stderr


def test_a_reader_that_ends_is_no_error(tmp_path: Path) -> None:
    run = ended(["config", "schema"], tmp_path, "| head -c 1")
    assert (run.stdout, run.stderr) == ("{", "")
