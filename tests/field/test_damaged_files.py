"""A file of ours that is damaged in whatever way: an error with its place, or the right result; never anything else."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import Engine, Strategy, StrategySpec
from headrace.app.config import read_config, template_text
from headrace.bus.audit import read_audit
from headrace.dispatch.repetition import LoggedRun
from headrace.errors import AuditError, ConfigError, DispatchLogError, HeadraceError
from headrace.market.events import Event
from tests.support.dispatch_logs import resealed
from tests.support.engines import SECOND, engine_over, market

MUTANTS = 150
NUMBER = re.compile(rb"-?\d+")
NUMBERS = (0, 1, -1, 255, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**5_000)
TEXTS = (b"null", b"true", b"[]", b"{}", b'""', b'"\\u0000"', b"1e999", b"-0.0", b"\xff")
DEEP = (b"[" * 3_000, b'{"x":' * 3_000)
WORDS = (b'"turn"', b'"command"', b'"halted"', b'"decision"', b'"leave"', b'"stop"', b'"begin"', b'"x"', b'"Signal"')


# A kilobyte that would become two gigabytes.
ALIASES = "\n".join(["a0: &a0 [x,x,x,x]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])
OUTSIDE = ["[" * 5_000, "{a = " * 5_000, "0x" + "f" * 5_000, "9" * 5_000, "1e99999999999999999999"]


class Buys(Strategy):
    def on_quote(self, seq: int, instrument: str) -> None:
        if seq % 4 == 0:
            self.buy(instrument, "0.5")


def engine(**options: object) -> Engine:
    prices = (100 + number % 7 for number in range(200))
    spec = StrategySpec(strategy=Buys(), name="trader")
    return engine_over(market(prices, every_ns=SECOND // 2_000), [spec], **options)  # type: ignore[arg-type]


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Return a file with one to three changes: of a number, a value, a word, a byte, a line, or its length."""
    lines = data.splitlines(keepends=True)
    for _ in range(draw.choice((1, 1, 2, 3))):
        place = draw.randrange(len(lines))
        line = lines[place]
        match draw.randrange(7):
            case 0 | 1 if found := list(NUMBER.finditer(line)):
                number = draw.choice(found)
                new = draw.choice((*NUMBERS, int(number[0]) + 1, int(number[0]) - 1))
                text = f"{new:d}".encode() if abs(new) < 10**4_000 else b"9" * 5_000
                lines[place] = line[: number.start()] + text + line[number.end() :]
            case 2 if found := list(re.finditer(rb"[\w.]+|\"[^\"]*\"", line)):
                value = draw.choice(found)
                lines[place] = line[: value.start()] + draw.choice((*TEXTS, *DEEP)) + line[value.end() :]
            case 3:
                lines[place] = re.sub(b"|".join(WORDS), draw.choice(WORDS), line, count=1)
            case 4 if line:
                at = draw.randrange(len(line))
                lines[place] = line[:at] + bytes([draw.randrange(256)]) + line[at + 1 :]
            case 5:
                lines[place] = draw.choice((b"", line + draw.choice(lines)))
            case _:
                lines[place] = line[: draw.randrange(len(line) + 1)]
    return b"".join(lines)


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))
    logging.getLogger("headrace").setLevel(logging.CRITICAL)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def loud_again() -> object:
    level = logging.getLogger("headrace").level
    yield
    logging.getLogger("headrace").setLevel(level)


def judge(read: Callable[[], str], seed: int) -> str:
    """Return what came of a damaged file; anything but an error of ours names the seed."""
    try:
        return read()
    except HeadraceError as error:
        return type(error).__name__
    except BaseException as error:
        error.add_note(f"mutant {seed}")
        raise


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seal", [False, True], ids=["as_it_is", "with_right_checks"])
def test_a_damaged_dispatch_log_is_refused_or_repeated(tmp_path: Path, seed: int, seal: bool) -> None:
    log, mutant = tmp_path / "log", tmp_path / "mutant"
    asyncio.run(engine(mode="live", speed=5.0, dispatch_log=log).run_async())
    whole = log.read_bytes()

    def repeated() -> str:
        report = engine(mode="repeat", dispatch_log=mutant).run().repeated
        assert report is not None
        return "same" if report.same else "differs"

    found: Counter[str] = Counter()
    for number in range(seed, seed + MUTANTS):
        data = damaged(whole, random.Random(number))
        mutant.write_bytes(resealed(data) if seal else data)
        result = judge(repeated, number)
        if not seal and result in ("same", "differs"):
            # Unseen only behind the last check that is whole.
            last = data.rfind(b'["check",')
            assert data[:last] == whole[:last], f"mutant {number} was not noticed"
        found[result] += 1
    assert found["DispatchLogError"] > MUTANTS / 4, found


def test_a_damaged_audit_is_refused_or_read(tmp_path: Path, seed: int) -> None:
    audit, mutant = tmp_path / "audit", tmp_path / "mutant"
    engine(audit=audit).run()
    whole = audit.read_bytes()

    def read() -> str:
        events = list(read_audit(mutant, allow_torn=True))
        assert all(isinstance(event, Event) for event in events)
        return "read"

    found: Counter[str] = Counter()
    for number in range(seed, seed + 2 * MUTANTS):
        mutant.write_bytes(damaged(whole, random.Random(number)))
        found[judge(read, number)] += 1
    assert set(found) == {"read", AuditError.__name__}


@pytest.mark.parametrize("ending", ["toml", "yaml"])
def test_a_damaged_configuration_is_refused_or_read(tmp_path: Path, seed: int, ending: str) -> None:
    file = tmp_path / f"engine.{ending}"
    text = re.sub(r"^#(?=\w+ = [^<])", "", template_text(), flags=re.MULTILINE)
    if ending == "yaml":
        text = re.sub(r"^\[+([\w.]+)\]+", r"\1:", text, flags=re.MULTILINE)
        text = re.sub(r"^(\w+) = ([^#\n]*)", r"  \1: \2", text, flags=re.MULTILINE)
    found: Counter[str] = Counter()
    for number in range(seed, seed + MUTANTS):
        file.write_bytes(damaged(text.encode(), random.Random(number)))
        found[judge(lambda: f"{len(read_config(file, environment={}).problems) > 0}", number)] += 1
    assert found[ConfigError.__name__] > 10, found


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "a: &a [x]\nengine: {name: *a}", "line 2 repeats .a"),
        ("a.yaml", "a: &a {b: *a}", "line 1 repeats .a"),
        ("a.yaml", ALIASES, "line 2"),
        ("a.yaml", "engine: " + "[" * 5_000, "32 levels"),
        ("a.yaml", "strategies: [{use: 'a:B', parameters: " + "{x: " * 40 + "1" + "}" * 40 + "}]", "32 levels"),
        ("a.toml", "engine = " + "[" * 5_000 + "]" * 5_000, "TOML|32 levels"),
        ("a.toml", "[[strategies]]\nuse = 'a:B'\nparameters" + ".x" * 5_000 + " = 1", "32 levels|TOML"),
        ("a.toml", "[engine]\nring_capacity = " + "9" * 5_000, "no TOML"),
        ("a.toml", "[engine]\nspeed = 1e99999999999999999999", "no TOML"),
        ("a.toml", "[[strategies]]\nuse = 'a:B'\nparameters = { x = 0x" + "f" * 5_000 + " }", "more than 64 bits"),
        ("a.yaml", "engine: {run_id: 2026-02-30}", "no YAML"),
        ("a.yaml", "engine: {name: 9" + "9" * 5_000 + "}", "no YAML|wrong"),
        ("a.toml", "# " + "x" * (1 << 20), "1,048,576 bytes"),
        ("a.toml", "[engine]\naudit = '~nobody-of-that-name/audit'", ""),
    ],
)  # fmt: skip
def test_a_configuration_of_any_content_is_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    if not says:
        assert not read_config(tmp_path / name, environment={}).problems
        return
    try:
        problems = [str(problem) for problem in read_config(tmp_path / name, environment={}).problems]
    except ConfigError as error:
        problems = [str(error)]
    assert any(re.search(says, problem) for problem in problems), problems


@pytest.mark.parametrize("value", OUTSIDE)
def test_a_value_from_outside_is_refused_or_a_text(value: str) -> None:
    for override in (f"engine.ring_capacity={value}", f"engine.audit={value}", f"strategies.0.parameters.x={value}"):
        problems = read_config(environment={}, overrides=[override]).problems
        assert all(isinstance(problem, ConfigError) for problem in problems)
    deep = f"strategies.0.parameters{'.x' * 5_000}=1"
    with pytest.raises(ConfigError, match=r"32 levels|sets nothing"):
        read_config(environment={}, overrides=[deep])


def test_a_file_without_end_is_refused_within_bounds() -> None:
    for path in ("/dev/zero", "/", "a\0b", "/dev/null/x"):
        with pytest.raises(AuditError):
            list(read_audit(path, allow_torn=True))
        with pytest.raises(DispatchLogError):
            LoggedRun(path)
