"""The section ``[control.http]``: what is refused when the file is read, and how much one client may ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.app.config import load_config
from headrace.control.http import token_path
from headrace.control.http.answer_store import AnswerStore
from headrace.control.http.rates import ClientRates
from headrace.control.settings import HttpSettings
from headrace.errors import ConfigError
from headrace.limits import HTTP_KEYS_MAX
from tests.support.http_serving import serving

ENGINE = '[engine]\nname = "paper"\n[[feeds]]\nkind = "synthetic"\n[control.http]\n'


def settings_of(folder: Path, *lines: str) -> HttpSettings:
    (folder / "engine.toml").write_text(ENGINE + "\n".join(lines))
    settings = load_config(folder / "engine.toml").control.http
    assert settings is not None
    return settings


@pytest.mark.parametrize("listen", ["0.0.0.0:8757", "192.0.2.1:8757", "[::]:8757", "ops.example:8757"])
def test_an_address_that_others_reach_needs_tls_or_a_word(tmp_path: Path, listen: str) -> None:
    with pytest.raises(ConfigError, match="without encryption"):
        settings_of(tmp_path, f'listen = "{listen}"')
    assert settings_of(tmp_path, f'listen = "{listen}"', "allow_plaintext = true").allow_plaintext
    pair = ('tls_certificate = "c.pem"', 'tls_key = "k.pem"')
    assert settings_of(tmp_path, f'listen = "{listen}"', *pair).has_tls


@pytest.mark.parametrize("listen", ["127.0.0.1:8757", "localhost:0", "[::1]:8757", "127.9.9.9:1"])
def test_loopback_needs_nothing(tmp_path: Path, listen: str) -> None:
    assert settings_of(tmp_path, f'listen = "{listen}"').listen == listen


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('listen = "127.0.0.1"', "listen"),
        ('listen = "127.0.0.1:65536"', "a port up to"),
        ('hosts = ["https://ops.example"]', "what stands in the Host header"),
        ('origins = ["ops.example"]', "write an origin"),
        ('origins = ["https://ops.example/"]', "write an origin"),
        ('engines = ["*"]', "write an origin"),
        ('tls_key = "k.pem"', "the certificate's file"),
        ('tls_certificate = "c.pem"', "the key's file"),
        ('host = "ops.example:1"', "did you mean hosts"),
    ],
)
def test_a_wrong_key_is_named_when_the_file_is_read(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, line)
    assert said in str(caught.value)
    assert "control.http" in str(caught.value)


def test_a_client_has_500_requests_a_second_and_a_burst_of_1000() -> None:
    rates = ClientRates()
    assert [rates.wait_s("a", 0.0) for _ in range(1_000)] == [0.0] * 1_000
    assert rates.wait_s("a", 0.0) > 0
    assert [rates.wait_s("a", 1.0) for _ in range(500)] == [0.0] * 500
    assert rates.wait_s("a", 1.0) > 0


@pytest.mark.asyncio
async def test_an_answer_is_kept_for_a_day(tmp_path: Path) -> None:
    now_s = 1_000_000.0
    store = AnswerStore(tmp_path / "answers", now_s=lambda: now_s)
    try:
        await store.begin("ann", "k", b"d")
        await store.finish("ann", "k", 200, b"{}")
        now_s += 86_399
        assert await store.look("ann", "k") == (b"d", 200, b"{}")
        now_s += 2
        assert await store.look("ann", "k") is None
    finally:
        store.close()
    assert HTTP_KEYS_MAX == 100_000


@pytest.mark.asyncio
async def test_the_token_file_may_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    settings = HttpSettings(listen="127.0.0.1:0", token_file=str(tmp_path / "own" / "tokens"))
    async with serving(tmp_path, settings=settings) as served:
        assert token_path(settings, tmp_path).read_text().strip() == served.token
        assert (await served.get("/v1/status")).status == 200
        assert not (tmp_path / "http.token").exists()
