"""``--param`` is converted as the parameter is annotated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Run

STRATEGY = """
from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

from headrace import Strategy


class Shows(Strategy):
    def __init__(self, value{annotation}) -> None:
        print("value =", repr(value))

    def on_quote(self, mid: float) -> None: ...
"""


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        (": bool = True", "no", "False"),
        (": bool | None = None", "false", "False"),
        (": int = 1", "1e3", "1000"),
        (": Decimal = Decimal(1)", "0.10", "Decimal('0.10')"),
        (": Literal['x', 'y'] = 'x'", "y", "'y'"),
        (": bool | None = None", "none", "None"),
        (": bool | None = True", "no", "False"),
        (": int | None = 3", "none", "None"),
        (": str | None = None", "none", "'none'"),
        (": Path = None", "/tmp", "PosixPath('/tmp')"),
        (": Path | None = None", "a b/c", "PosixPath('a b/c')"),
        (" = Path('.')", "/tmp", "PosixPath('/tmp')"),
        (": list[int] = ()", "[1,2]", "[1, 2]"),
        (": list[int] = ()", "1,2", "[1, 2]"),
        (": list[int] = ()", "", "[]"),
        (": list[str] = ()", "BTCUSDT.BINANCE, ETHUSDT.BINANCE", "['BTCUSDT.BINANCE', 'ETHUSDT.BINANCE']"),
        (": tuple[float, ...] = ()", "1,2.5", "(1.0, 2.5)"),
        (": list[Path] | None = None", "a,b", "[PosixPath('a'), PosixPath('b')]"),
        (" = ()", "a,b", "('a', 'b')"),
        (": dict[str, int] | None = None", "{a = 1}", "{'a': 1}"),
        (" = 0", "0.5", "0.5"),
        (" = 0", "7", "7"),
    ],
)
def test_param_becomes_the_annotated_type(
    headrace_run: Run, tmp_path: Path, annotation: str, given: str, expected: str
) -> None:
    (tmp_path / "shows.py").write_text(STRATEGY.format(annotation=annotation))
    (tmp_path / "one.txt").write_text('1767571200000000000 {"u":1,"s":"BTCUSDT","b":"100","B":"1","a":"101","A":"1"}\n')
    ended = headrace_run("replay", "one.txt@BINANCE", "--strategy", "shows.py:Shows", "--param", f"value={given}")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] == f"value = {expected}"


@pytest.mark.parametrize(
    ("annotation", "given", "takes"),
    [
        (": bool | None = None", "maybe", "bool | None"),
        (": list[int] = ()", "1,x", "list[int]"),
        (": int | None = None", "x", "int | None"),
        (": Literal['x', 'y'] = 'x'", "z", "Literal['x', 'y']"),
    ],
)
def test_a_param_that_does_not_fit_names_the_type(
    headrace_run: Run, tmp_path: Path, annotation: str, given: str, takes: str
) -> None:
    (tmp_path / "shows.py").write_text(STRATEGY.format(annotation=annotation))
    ended = headrace_run("replay", "one.txt@BINANCE", "--strategy", "shows.py:Shows", "--param", f"value={given}")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert f"--param value={given} does not fit Shows: it takes " in ended.stderr
    assert takes in ended.stderr
