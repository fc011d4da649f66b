"""How MLflow's settings say that its server is asked: credentials, TLS, patience.

Read from the environment, MLflow's credentials file and the server's URI, with the precedence that
MLflow 3.17 and its HTTP library have. Whatever else changes a request is left to MLflow.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from pairlock.tracking_server.plugins import changes_requests
from pairlock.without_mlflow import OnlyMlflowError, is_on

_ONLY_MLFLOW = (
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_WORKSPACE",
    "DATABRICKS_RUNTIME_VERSION",
    "_MLFLOW_DATABRICKS_TRAFFIC_ID",
)
_SWITCHES = ("MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_ENABLE_WORKSPACES")
_MOST_RETRIES = 10
_MOST_BACKOFF = 120
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How one server is asked."""

    base: str
    """Its URI without credentials and without a slash at the end."""

    authorization: str | None = field(default=None, repr=False)
    """The header's value."""

    ca_bundle: str | None = None
    """A file or folder of certificates; None for those that come with the HTTP library."""

    checks_certificate: bool = True
    client_certificate: str | None = None
    follows_redirects: bool = True
    timeout_s: float = 120
    retries: int = 7
    backoff_factor: float = 2
    backoff_jitter_s: float = 1.0
    respects_retry_after: bool = True
    keepalive: tuple[int, int, int] | None = (30, 10, 3)
    """Idle time and interval in s, and number of probes; None for no probes."""


def read_settings(uri: str, environment: Mapping[str, str]) -> ServerSettings:
    """How a server is asked.

    Args:
        uri: an `http://` or `https://` URI, as MLflow takes it.
        environment: the variables.

    Raises:
        OnlyMlflowError: something is set that only MLflow's own client does.
    """
    _refuse_special(environment)
    base, own = _without_user(uri)
    insecure = is_on(environment, "MLFLOW_TRACKING_INSECURE_TLS")
    bundle = environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    if insecure and bundle is not None:
        raise OnlyMlflowError(
            "MLFLOW_TRACKING_INSECURE_TLS beside MLFLOW_TRACKING_SERVER_CERT_PATH"
        )
    return ServerSettings(
        base=base,
        authorization=_netrc(base, environment) or own or _authorization(environment),
        ca_bundle=bundle or _usual_bundle(environment),
        checks_certificate=not insecure,
        client_certificate=environment.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None,
        follows_redirects=environment.get("MLFLOW_ALLOW_HTTP_REDIRECTS", "true").lower()
        in {"true", "1"},
        timeout_s=_number(environment, "MLFLOW_HTTP_REQUEST_TIMEOUT", int, 120, at_least=1),
        retries=_number(
            environment, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", int, 7, at_most=_MOST_RETRIES
        ),
        backoff_factor=_number(
            environment, "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", int, 2, at_most=_MOST_BACKOFF
        ),
        backoff_jitter_s=_number(environment, "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", float, 1.0),
        respects_retry_after=is_on(
            environment, "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", default=True
        ),
        keepalive=_keepalive(environment),
    )


def _refuse_special(environment: Mapping[str, str]) -> None:
    for name in _ONLY_MLFLOW:
        if environment.get(name, "").strip():
            raise OnlyMlflowError(f"{name} is set")
    for name in _SWITCHES:
        if is_on(environment, name):
            raise OnlyMlflowError(f"{name} is on")
    if plugin := changes_requests():
        raise OnlyMlflowError(f"the plugin {plugin} of MLflow, which changes what it sends")


def _without_user(uri: str) -> tuple[str, str | None]:
    try:
        split = urlsplit(uri)
        user, password, host = split.username, split.password, split.hostname
        _ = split.port
    except ValueError as error:
        raise OnlyMlflowError("a server's address that is no URI") from error
    if split.query or split.fragment or not host:
        raise OnlyMlflowError("a server's address with more than a host and a path")
    base = urlunsplit(split._replace(netloc=split.netloc.rpartition("@")[2]))
    own = None
    if user is not None and password is not None and (user or password):
        own = _basic(unquote(user), unquote(password), "latin-1")
    return base.removesuffix("/"), own


def _authorization(environment: Mapping[str, str]) -> str | None:
    user = environment.get("MLFLOW_TRACKING_USERNAME")
    password = environment.get("MLFLOW_TRACKING_PASSWORD")
    if not (user and password):
        kept = _credentials_file()
        user = user or kept.get("mlflow_tracking_username")
        password = password or kept.get("mlflow_tracking_password")
    if user and password:
        return _basic(user, password, "utf-8")
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    return f"Bearer {token}" if token else None


def _credentials_file() -> Mapping[str, str]:
    path = Path("~/.mlflow/credentials").expanduser()
    if not path.exists():
        return {}
    from configparser import ConfigParser, Error

    config = ConfigParser()
    try:
        config.read(path)
        return dict(config["mlflow"]) if "mlflow" in config else {}
    except (Error, OSError, UnicodeDecodeError) as error:
        raise OnlyMlflowError("~/.mlflow/credentials, which cannot be read") from error


def _netrc(base: str, environment: Mapping[str, str]) -> str | None:
    """What requests, MLflow's HTTP library, sends before any other credentials."""
    named = environment.get("NETRC")
    places = [
        Path(place).expanduser() for place in ([named] if named else ["~/.netrc", "~/_netrc"])
    ]
    path = next((place for place in places if place.exists()), None)
    if path is None or named == "":
        return None
    from netrc import NetrcParseError, netrc

    try:
        found = netrc(str(path)).authenticators(urlsplit(base).hostname or "")
    except (NetrcParseError, OSError):
        return None
    if found is None or not any(found):
        return None
    login, account, password = found
    return _basic(login or account, password, "latin-1")


def _basic(user: str, password: str, encoding: str) -> str:
    try:
        return f"Basic {b64encode(f'{user}:{password}'.encode(encoding)).decode()}"
    except UnicodeEncodeError as error:
        raise OnlyMlflowError("credentials with characters outside of Latin-1") from error


def _usual_bundle(environment: Mapping[str, str]) -> str | None:
    return environment.get("REQUESTS_CA_BUNDLE") or environment.get("CURL_CA_BUNDLE") or None


def _keepalive(environment: Mapping[str, str]) -> tuple[int, int, int] | None:
    if not is_on(environment, "MLFLOW_HTTP_TCP_KEEPALIVE", default=True):
        return None
    return (
        _number(environment, "MLFLOW_HTTP_TCP_KEEPALIVE_IDLE", int, 30, at_least=1),
        _number(environment, "MLFLOW_HTTP_TCP_KEEPALIVE_INTERVAL", int, 10, at_least=1),
        _number(environment, "MLFLOW_HTTP_TCP_KEEPALIVE_COUNT", int, 3, at_least=1),
    )


def _number(
    environment: Mapping[str, str],
    name: str,
    kind: Callable[[str], _Number],
    default: _Number,
    *,
    at_least: int = 0,
    at_most: float = float("inf"),
) -> _Number:
    text = environment.get(name)
    if text is None:
        return default
    try:
        number = kind(text)
    except ValueError as error:
        raise OnlyMlflowError(f"{name} is {text!r}, which is no number") from error
    if not at_least <= number <= at_most:
        raise OnlyMlflowError(f"{name} is {text}, which MLflow does not take")
    return number


def proxy_for(url: str) -> str | None:
    """The HTTP proxy that the environment names for a URL.

    Raises:
        OnlyMlflowError: it is of a kind that only MLflow's HTTP library knows.
    """
    if not any(name.lower().endswith("_proxy") and value for name, value in os.environ.items()):
        return None
    # its rules for which host goes past which proxy are many
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.lower().startswith(("http://", "https://")):
        raise OnlyMlflowError("a proxy that is no HTTP proxy")
    return proxy
