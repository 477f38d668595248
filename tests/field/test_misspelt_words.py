"""Every misspelt option, verb and configuration key is an error that names the right one."""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from headrace.app.config import ConfigKey, config_keys, load_config
from headrace.cli import app
from headrace.errors import ConfigError


def verbs(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command of the command line with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from verbs(inner, (*path, name))


VERBS = dict(verbs(app.commands))
OPTIONS = [
    (path, name)
    for path, command in VERBS.items()
    for parameter in command.params
    for name in parameter.opts
    if name.startswith("--")
]


def misspelt(word: str, known: list[str], chance: random.Random) -> list[str]:
    """Some misspellings of a word that are not words themselves: a letter dropped, doubled, changed, two swapped."""
    at = chance.randrange(len(word) - 1)
    other = chance.choice("abcdefghijklmnopqrstuvwxyz")
    forms = {
        word[:at] + word[at + 1 :] if len(word) > 3 else word,
        word[:at] + word[at] + word[at:],
        word[:at] + other + word[at + 1 :] if len(word) > 3 else word,
        word[:at] + word[at + 1] + word[at] + word[at + 2 :] if len(word) > 3 else word,
        word + other,
    }
    return sorted(form for form in forms if form not in known and "__" not in form)


def assert_named(message: str, right: str, wrong: str) -> None:
    """The message names one word: the right one, or another that is as near to what was written."""
    found = re.findall(r"did you mean (\S+?)\?\)", message)
    assert len(found) == 1, message
    nearness = [difflib.SequenceMatcher(None, word, wrong).ratio() for word in (found[0], right)]
    assert found[0] == right or nearness[0] >= nearness[1], message


@pytest.mark.parametrize(("path", "option"), OPTIONS, ids=[" ".join([*path, option]) for path, option in OPTIONS])
def test_a_misspelt_option_names_the_right_one(
    path: tuple[str, ...], option: str, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [name for own, name in OPTIONS if own == path] + ["--help", "--version"]
    for wrong in misspelt(option[2:], [name[2:] for name in known], random.Random(f"{seed} {path} {option}")):
        for written in (f"--{wrong}", f"--{wrong}=x"):
            assert app.run([*path, written]) == 2
            said = capsys.readouterr()
            assert (said.out, said.err.count("\n")) == ("", 1)
            assert_named(said.err, option, f"--{wrong}")


def test_an_option_with_one_dash_names_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    for path, option in OPTIONS:
        assert app.run([*path, option[1:]]) == 2
        assert_named(capsys.readouterr().err, option, option[1:])


@pytest.mark.parametrize(
    "path", [path for path in VERBS if path and path[0] != "ctl"] + [("ctl", "dead-letters", "get")]
)
def test_a_misspelt_verb_names_the_right_one(
    path: tuple[str, ...], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [own[-1] for own in VERBS if own and own[:-1] == path[:-1]]
    for wrong in misspelt(path[-1], known, random.Random(f"{seed} {path}")):
        assert app.run([*path[:-1], wrong]) == 2
        assert_named(capsys.readouterr().err, path[-1], wrong)


def test_a_misspelt_command_names_the_right_one(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path))
    known = [path[1] for path in VERBS if len(path) == 2 and path[0] == "ctl"]
    for verb in known:
        for wrong in misspelt(verb, known, random.Random(f"{seed} {verb}")):
            assert app.run(["ctl", wrong]) == 2
            assert_named(capsys.readouterr().err, verb, wrong)


KEYS = config_keys()
LISTS = {key.section.strip("[]") for key in KEYS if key.section.startswith("[[")}


def place_of(section: str) -> str:
    """A section's path for an override: the first item of each list."""
    header = section.strip("[]").replace("SYMBOL.VENUE", "BTCUSDT.BINANCE")
    for name in sorted(LISTS, key=len, reverse=True):
        if header == name or header.startswith(f"{name}."):
            return (
                place_of(name.rpartition(".")[0])
                + f"{'.' * ('.' in name)}{name.rpartition('.')[2]}.0"
                + header[len(name) :]
            )
    return header


@pytest.mark.parametrize("key", KEYS, ids=[f"{key.section} {key.key}" for key in KEYS])
def test_a_misspelt_key_names_the_right_one(key: ConfigKey, seed: int) -> None:
    known = [own.key for own in KEYS if own.section == key.section]
    place = place_of(key.section)
    for wrong in misspelt(key.key, known, random.Random(f"{seed} {key}")):
        with pytest.raises(ConfigError) as raised:
            load_config(environment={}, overrides=[f"{place}.{wrong}=1"])
        assert_named(str(raised.value), key.key, wrong)
        name = f"{place}.{wrong}".replace('"BTCUSDT.BINANCE"', "BTCUSDT*BINANCE").replace(".", "__").replace("*", ".")
        with pytest.raises(ConfigError) as raised:
            load_config(environment={f"HEADRACE__{name}": "1"})
        assert_named(str(raised.value), key.key, wrong)


@pytest.mark.parametrize("section", sorted({key.section.strip("[]").partition(".")[0] for key in KEYS}))
def test_a_misspelt_section_names_the_right_one(section: str, seed: int, tmp_path: Path) -> None:
    known = sorted({key.section.strip("[]").partition(".")[0] for key in KEYS})
    for wrong in misspelt(section, known, random.Random(f"{seed} {section}")):
        (tmp_path / "engine.toml").write_text(f"[{wrong}]\n")
        with pytest.raises(ConfigError) as raised:
            load_config(tmp_path / "engine.toml", environment={})
        assert_named(str(raised.value), section, wrong)


def test_a_variable_with_one_underscore_names_the_right_one() -> None:
    with pytest.raises(ConfigError, match="did you mean HEADRACE__RISK__QUANTITY_MAX") as raised:
        load_config(environment={"HEADRACE_RISK__QUANTITY_MAX": "1", "HEADRACE_STATE": "a__b"})
    assert str(raised.value).startswith("the environment: ")
