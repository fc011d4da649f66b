"""Requests to MLflow's server, without MLflow: what a load, a pull and a verify read there.

One connection is kept for what is asked one after the other. Answers are urllib3's.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

from pairlock.tracking_server.settings import ServerSettings, proxy_for, read_settings

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

TRANSIENT = (408, 429, 500, 502, 503, 504)
"""What is asked again, as MLflow does."""

_MOVED = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 30
_AGENT = "pairlock"


class NoAnswerError(Exception):
    """The server could not be asked, or did not answer as HTTP has it."""


class TrackingServer:
    """One server.

    Args:
        settings: how it is asked.

    Raises:
        OnlyMlflowError: it lies behind a proxy of a kind that is not known here.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._proxy = proxy_for(settings.base)

    @property
    def base(self) -> str:
        """Its URI without credentials."""
        return self._settings.base

    def get(
        self,
        path: str,
        fields: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
        raise_on_status: bool = True,
        preload: bool = True,
    ) -> BaseHTTPResponse:
        """Ask for something.

        Args:
            path: below the server's URI, quoted.
            fields: the query.
            headers: to send beside the usual ones.
            retries: how often it is asked again; None for what the settings say.
            timeout_s: how long to wait for a connection, and for each piece of the answer.
            raise_on_status: whether an answer that stays a transient one is an error.
            preload: whether to read the whole body now.

        Returns:
            The answer, of whatever status.

        Raises:
            NoAnswerError: there is none.
        """
        import urllib3

        url = f"{self.base}{path}" + (f"?{urlencode(fields)}" if fields else "")
        try:
            return self._followed(
                url,
                dict(headers or {}),
                preload_content=preload,
                timeout=urllib3.Timeout(
                    connect=timeout_s or self._settings.timeout_s,
                    read=timeout_s or self._settings.timeout_s,
                ),
                retries=_retry(self._settings, retries, raise_on_status=raise_on_status),
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise NoAnswerError(f"API request to {url} failed with exception {error}") from error

    def _followed(self, url: str, headers: dict[str, str], **how: Any) -> BaseHTTPResponse:
        """The answer behind redirects; credentials go to no other server."""
        asked = url
        pool = _pool(self._settings, self._proxy, os.getpid())
        for _ in range(_MOST_REDIRECTS + 1):
            sent = {"User-Agent": _AGENT, **headers}
            if self._settings.authorization and _same_server(self.base, asked):
                sent["Authorization"] = self._settings.authorization
            answer = pool.request("GET", asked, headers=sent, redirect=False, **how)
            moved = answer.headers.get("location") if answer.status in _MOVED else None
            if moved is None or not self._settings.follows_redirects:
                return answer
            answer.drain_conn()
            answer.release_conn()
            asked = urljoin(asked, moved)
        raise NoAnswerError(f"API request to {url} failed: more than {_MOST_REDIRECTS} redirects")


def server(uri: str) -> TrackingServer:
    """The server at a URI, with the settings of the environment as it is now.

    Raises:
        OnlyMlflowError: something is set that only MLflow's own client does.
    """
    return TrackingServer(read_settings(uri, os.environ))


def _same_server(base: str, url: str) -> bool:
    """Whether credentials may go there: to the same host and port, or to the same host by TLS."""
    one, other = urlsplit(base), urlsplit(url)
    if one.hostname != other.hostname:
        return False
    upgraded = (one.scheme, one.port or 80, other.scheme, other.port or 443)
    usual = {"http": 80, "https": 443}
    ports = one.port or usual.get(one.scheme), other.port or usual.get(other.scheme)
    is_same = one.scheme == other.scheme and ports[0] == ports[1]
    return is_same or upgraded == ("http", 80, "https", 443)


def _retry(settings: ServerSettings, retries: int | None, *, raise_on_status: bool) -> Any:
    from urllib3 import Retry

    times = settings.retries if retries is None else retries
    return Retry(
        total=times,
        connect=times,
        read=times,
        redirect=times,
        status=times,
        status_forcelist=TRANSIENT,
        allowed_methods=None,
        backoff_factor=settings.backoff_factor,
        backoff_jitter=settings.backoff_jitter_s,
        raise_on_status=raise_on_status,
        respect_retry_after_header=settings.respects_retry_after,
    )


@cache
def _pool(settings: ServerSettings, proxy: str | None, _process: int) -> PoolManager:
    """Connections for one way to ask; a forked process has its own."""
    import urllib3

    how: dict[str, Any] = {"maxsize": 10, "socket_options": _socket_options(settings.keepalive)}
    special = settings.ca_bundle or settings.client_certificate or not settings.checks_certificate
    if special or settings.base.startswith("https:"):  # a redirect may lead to TLS
        how |= _tls(settings)
    if proxy is None:
        return urllib3.PoolManager(**how)
    user = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=user) if user else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **how)


def _tls(settings: ServerSettings) -> dict[str, Any]:
    found: dict[str, Any] = {"cert_reqs": "CERT_NONE"}
    if settings.client_certificate:
        found["cert_file"] = _there(settings.client_certificate)
    if settings.checks_certificate:
        bundle = _there(settings.ca_bundle or _bundle_of_the_library())
        place = "ca_cert_dir" if os.path.isdir(bundle) else "ca_certs"  # noqa: PTH112 - a setting
        found |= {"cert_reqs": "CERT_REQUIRED", place: bundle}
    return found


def _bundle_of_the_library() -> str:
    import certifi

    return certifi.where()


def _there(path: str) -> str:
    if not os.path.exists(path):  # noqa: PTH110 - a setting
        raise NoAnswerError(f"Could not find a TLS certificate: invalid path: {path}")
    return path


def _socket_options(keepalive: tuple[int, int, int] | None) -> list[tuple[int, int, int]]:
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    if keepalive is None:
        return options
    options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
    # macOS has no TCP_KEEPIDLE; its TCP_KEEPALIVE is the same
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    options += [
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in zip(names, keepalive, strict=True)
        if hasattr(socket, name)
    ]
    return options
