"""ControlSettings: how operators reach an engine or a worker from outside; the section ``[control]``.

::

    [control.alerts]   rules · sinks                       [[control.alerts.rules]]  [[control.alerts.sinks]]
    [control.http]     listen · token_file · hosts · origins · engines · tls_certificate, tls_key · allow_plaintext

Guarantees: immutable; without ``[control.http]`` nothing listens; an address that other machines reach needs TLS, or
``allow_plaintext``.
Does not: read files or listen (``control.http``).
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

from headrace.control.alerts.settings import AlertsSettings
from headrace.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ControlSettings", "HttpSettings", "address_of", "checked_listen", "http_problems", "is_loopback"]

OwnPath: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]+$", extra={"is": "path", "takes": "a path"})]
_ADDRESS = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}(?![\s\S])"
PORT_MAX = 65_535
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_ORIGIN = re.compile(rf"https?://{_HOST.pattern}")


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The control API over HTTP; it is served where this section is there.

    listen : the address, HOST:PORT; port 0 is any free port.
    token_file : the file of tokens, a line each: TOKEN, NAME TOKEN or NAME TOKEN read-only; it is made when it is
        missing. By default http.token in the state folder.
    hosts : further values of the Host header that are served, with their port, exactly.
    origins : pages of other addresses that may use the API, like https://ops.example.
    engines : other engines that its page shows, too, like https://ops.example:8758; each of them names this page's
        address in its own origins.
    tls_certificate, tls_key : PEM files; with them HTTPS alone is served.
    allow_plaintext : whether an address that other machines reach may be served without TLS.
    """

    listen: Annotated[str, msgspec.Meta(pattern=_ADDRESS, extra={"takes": "HOST:PORT"})] = "127.0.0.1:8757"
    token_file: OwnPath | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    tls_certificate: OwnPath | None = None
    tls_key: OwnPath | None = None
    allow_plaintext: bool = False

    @property
    def has_tls(self) -> bool:
        """Whether HTTPS is served."""
        return self.tls_certificate is not None


class ControlSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How operators reach an engine from outside, beside its local socket.

    http : the control API over HTTP; without this section there is none.
    alerts : what is watched; without this section the usual rules are, where the API is served.
    """

    http: HttpSettings | None = None
    alerts: AlertsSettings | None = None


def checked_listen(settings: HttpSettings, listen: str) -> HttpSettings:
    """Return the settings at the address of ``--listen``. Raises OptionError."""
    try:
        changed = msgspec.convert({**msgspec.structs.asdict(settings), "listen": listen}, HttpSettings)
    except msgspec.ValidationError as error:
        msg = f"--listen {listen!r} is no address: write HOST:PORT, like 127.0.0.1:8757"
        raise OptionError(msg, option="listen") from error
    for _, value, advice in http_problems(changed):
        msg = f"--listen {value!r}: {advice}"
        raise OptionError(msg, option="listen")
    return changed


def address_of(listen: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port of ``HOST:PORT``."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def http_problems(settings: HttpSettings) -> Iterator[tuple[str, object, str]]:
    """Yield what no type expresses: the key, its value, and what to write."""
    host, port = address_of(settings.listen)
    if port > PORT_MAX:
        yield "listen", settings.listen, f"use a port up to {PORT_MAX:,}, 0 for any free one"
    for name in settings.hosts:
        if not _HOST.fullmatch(name):
            yield "hosts", name, 'write what stands in the Host header, like "ops.example:8757"'
    for key in ("origins", "engines"):
        for name in getattr(settings, key):
            if not _ORIGIN.fullmatch(name):
                yield key, name, 'write an origin, like "https://ops.example"'
    if settings.tls_certificate is None and settings.tls_key is not None:
        yield "tls_certificate", "missing", "write the certificate's file beside its key"
    if settings.tls_key is None and settings.tls_certificate is not None:
        yield "tls_key", "missing", "write the key's file beside the certificate"
    if not (is_loopback(host) or settings.has_tls or settings.allow_plaintext):
        advice = "other machines reach it without encryption: give tls_certificate and tls_key, or listen at 127.0.0.1"
        yield "listen", settings.listen, f"{advice}; allow_plaintext = true serves it all the same"
