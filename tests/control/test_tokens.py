"""The token file of the control API: made for its owner alone, and refused where it is not safe."""

from __future__ import annotations

import logging
import secrets
import stat
from pathlib import Path

import pytest

from headrace.control.tokens import TOKEN_VARIABLE, Actor, own_token, read_tokens
from headrace.errors import ControlError
from tests.support.http_serving import serving

TOKEN = "t" * 43


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "http.token"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_missing_file_is_made_for_its_owner_with_a_new_token(tmp_path: Path) -> None:
    path, other = tmp_path / "http.token", tmp_path / "other"
    tokens, is_made = read_tokens(path)
    read_tokens(other)
    token = path.read_text().removesuffix("\n")
    assert (is_made, stat.S_IMODE(path.stat().st_mode)) == (True, 0o600)
    assert len(token) >= 43
    assert token != other.read_text().strip()
    assert tokens.find(f"Bearer {token}".encode()) == Actor("operator", may_command=True)
    again, is_made = read_tokens(path)
    assert (is_made, again.find(f"bearer  {token} ".encode())) == (False, Actor("operator", may_command=True))


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n# a comment\n"])
def test_a_final_newline_is_no_part_of_a_token(tmp_path: Path, end: str) -> None:
    path = written(tmp_path, TOKEN + end)
    assert read_tokens(path)[0].find(f"Bearer {TOKEN}".encode()) is not None
    assert own_token(path) == TOKEN


def test_several_tokens_have_names_and_rights(tmp_path: Path) -> None:
    given = {name: secrets.token_urlsafe(32) for name in ("ann", "bob")}
    tokens, _ = read_tokens(written(tmp_path, f"ann {given['ann']}\nbob {given['bob']} read-only\n"))
    found = [tokens.find(f"Bearer {token}".encode()) for token in given.values()]
    assert found == [Actor("ann", may_command=True), Actor("bob", may_command=False)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no token"),
        ("t" * 42, "a token of 42 characters: use 43"),
        ("\xe4" * 43, "not ASCII"),
        (f"a b {TOKEN} d", "is no token"),
        (f"ann {TOKEN} readonly", "is no token"),
        (f"../ann {TOKEN}", "is no token"),
        (f"ann {TOKEN}\nbob {TOKEN}", "repeats"),
        (f"ann {TOKEN}\nann {'u' * 43}", "repeats"),
    ],
)
def test_a_wrong_entry_is_refused_and_not_repeated_in_the_error(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ControlError) as caught:
        read_tokens(written(tmp_path, text))
    assert said in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, TOKEN, mode)
    for read in (read_tokens, own_token):
        with pytest.raises(ControlError, match="others can read the token file"):
            read(path)


def test_the_environment_comes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "e" * 43)
    tokens, is_made = read_tokens(tmp_path / "none-such")
    assert (is_made, (tmp_path / "none-such").exists()) == (False, False)
    assert tokens.find(b"Bearer " + b"e" * 43) is not None


@pytest.mark.asyncio
async def test_the_path_is_logged_when_the_file_is_made_and_the_token_never(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(2):
        async with serving(tmp_path) as served:
            await served.get("/v1/status")
    token = (tmp_path / "http.token").read_text().strip()
    lines = [own.getMessage() for own in caplog.records if "http.token" in own.getMessage()]
    assert len(lines) == 1
    assert str(tmp_path / "http.token") in lines[0]
    assert token not in caplog.text
