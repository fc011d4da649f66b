"""MLflow's settings mean to Pairlock's requests what they mean to MLflow's own."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from pairlock.tracking_server import NoAnswerError, plugins, server
from pairlock.without_mlflow import OnlyMlflowError

PATH = "/api/2.0/mlflow/echo"
SENT = ("Authorization", "Accept-Encoding", "Proxy-Authorization")


class _Echo(BaseHTTPRequestHandler):
    """Answers what it was asked; `/moved/…` leads elsewhere."""

    protocol_version = "HTTP/1.1"
    moved_to = ""
    connections: ClassVar[set[Any]] = set()

    def do_GET(self) -> None:
        type(self).connections.add(self.client_address)
        if "/moved" in self.path:
            self.send_response(307)
            self.send_header("Location", self.moved_to + self.path.replace("/moved", ""))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        told = {"path": self.path, "authorization": self.headers.get("Authorization")}
        content = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def echo(context: ssl.SSLContext | None = None, moved_to: str = "") -> Iterator[str]:
    """A server that answers what it was asked; yields its URL."""
    handler = type("Echo", (_Echo,), {"moved_to": moved_to, "connections": set()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        if context is not None:
            made.socket = context.wrap_socket(made.socket, server_side=True)
        Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        scheme = "http" if context is None else "https"
        yield f"{scheme}://127.0.0.1:{made.server_address[1]}"
        made.shutdown()


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home of its own, no settings of the user's, no patience."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("MLFLOW_TRACKING_TOKEN", "NETRC", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)


def directly(uri: str, path: str = PATH) -> Any:
    """What the server was asked by Pairlock."""
    return json.loads(server(uri).get(path, {"name": "a b&ü/%"}).data)


def through_mlflow(uri: str, path: str = PATH) -> Any:
    """What the server was asked by MLflow."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    fields = {"name": "a b&ü/%"}
    return http_request(get_default_host_creds(uri), path, "GET", params=fields).json()


USER = {"MLFLOW_TRACKING_USERNAME": "kim", "MLFLOW_TRACKING_PASSWORD": "pä:ss"}
TOKEN = {"MLFLOW_TRACKING_TOKEN": "t0ken"}
NETRC = "machine 127.0.0.1 login net password rc\n"
FILE = "[mlflow]\nmlflow_tracking_username = file\nmlflow_tracking_password = kept\n"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        USER,
        TOKEN,
        {**USER, **TOKEN},
        {"MLFLOW_TRACKING_USERNAME": "kim"},
        {"MLFLOW_TRACKING_USERNAME": "kim", **TOKEN},
        {"MLFLOW_TRACKING_USERNAME": "", "MLFLOW_TRACKING_PASSWORD": ""},
    ],
)
@pytest.mark.parametrize("user", ["", "uri:p%40ss%2F@", "uri@", ":p@"])
@pytest.mark.parametrize("files", [{}, {".netrc": NETRC}, {".mlflow/credentials": FILE}])
def test_the_same_credentials_are_sent(
    environment: Mapping[str, str],
    user: str,
    files: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Of several that are set, in the variables, the URI and two files, the same ones win."""
    for name in USER:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    with echo() as url:
        uri = url.replace("//", f"//{user}")
        assert directly(uri) == through_mlflow(uri)


@pytest.mark.parametrize("end", ["", "/", "/prefix", "/prefix/"])
def test_the_same_path_is_asked(end: str) -> None:
    """A server may lie below a path, with a slash at its end or none."""
    with echo() as url:
        assert directly(url + end) == through_mlflow(url + end)


@pytest.mark.parametrize("allowed", ["true", "false"])
def test_redirects_are_followed_as_far_as_mlflow_does(
    allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials go along to the same server and to no other."""
    monkeypatch.setenv("MLFLOW_ALLOW_HTTP_REDIRECTS", allowed)
    for name, value in USER.items():
        monkeypatch.setenv(name, value)
    with echo() as other, echo(moved_to=other) as away, echo() as url:
        for uri in (away, url):
            if allowed == "true":
                found = directly(uri, f"/moved{PATH}")
                assert found == through_mlflow(uri, f"/moved{PATH}")
                assert (found["authorization"] is None) == (uri == away)
            else:
                assert server(uri).get(f"/moved{PATH}").status == 307


def test_an_endless_redirect_is_no_answer() -> None:
    """A server that sends in circles is given up."""
    with echo(moved_to="/moved") as url, pytest.raises(NoAnswerError):
        server(url).get(f"/moved{PATH}")


def test_one_connection_is_kept() -> None:
    """Questions one after the other go over one connection."""
    handler = type("Echo", (_Echo,), {"connections": set()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        for _ in range(3):
            directly(f"http://127.0.0.1:{made.server_address[1]}")
        made.shutdown()
    assert len(handler.connections) == 1


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes through a proxy, and past it, is what goes there in MLflow."""
    with echo() as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        found = directly("http://registry.example:5000")
        assert found == through_mlflow("http://registry.example:5000")
        assert found["path"].startswith("http://registry.example:5000/api")
        with echo() as url:
            monkeypatch.setenv("no_proxy", "127.0.0.0/8")
            assert directly(url)["path"].startswith("/api")
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        with pytest.raises(OnlyMlflowError):
            server("http://registry.example:5000")


# --- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine that nobody has signed but itself, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def succeeds(ask: Callable[[str], Any], uri: str) -> bool:
    """Whether a question is answered."""
    from mlflow.exceptions import MlflowException

    try:
        ask(uri)
    except (NoAnswerError, MlflowException):
        return False
    return True


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ((), False),
        (("MLFLOW_TRACKING_SERVER_CERT_PATH",), True),
        (("REQUESTS_CA_BUNDLE",), True),
        (("CURL_CA_BUNDLE",), True),
        (("MLFLOW_TRACKING_INSECURE_TLS",), True),
        (("MLFLOW_TRACKING_INSECURE_TLS", "REQUESTS_CA_BUNDLE"), True),
    ],
)
def test_the_same_certificates_are_accepted(
    names: tuple[str, ...], wanted: bool, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that nobody vouches for is refused, unless a setting says otherwise."""
    for name in names:
        value = "true" if name.endswith("INSECURE_TLS") else str(certificate)
        monkeypatch.setenv(name, value)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with echo(context) as url:
        assert succeeds(through_mlflow, url) is wanted
        assert succeeds(directly, url) is wanted


def test_a_client_certificate_is_shown(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that wants to see one sees the one that is set."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
    with echo(context) as url:
        assert not succeeds(directly, url)
        monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(certificate))
        assert succeeds(directly, url)


def test_an_empty_certificate_path_does_not_switch_checking_off(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow trusts everybody when the variable is there and empty; that is not followed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "")
    with echo(context) as url:
        assert not succeeds(directly, url)


def test_a_certificate_that_is_not_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said at once, and not after as many tries as the network gets."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/not/there.pem")
    with pytest.raises(NoAnswerError, match=r"/not/there\.pem"):
        directly("https://127.0.0.1:1")


# --- what is left to MLflow ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_TRACKING_AWS_SIGV4", "true"),
        ("MLFLOW_TRACKING_AUTH", "kubernetes"),
        ("MLFLOW_WORKSPACE", "team"),
        ("MLFLOW_ENABLE_WORKSPACES", "1"),
        ("DATABRICKS_RUNTIME_VERSION", "15"),
        ("MLFLOW_TRACKING_INSECURE_TLS", "maybe"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "11"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "-1"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "soon"),
        ("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "121"),
    ],
)
def test_what_only_mlflow_does_is_mlflows(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that is not understood here is not passed over."""
    monkeypatch.setenv(name, value)
    with pytest.raises(OnlyMlflowError):
        server("http://registry.example")


@pytest.mark.parametrize("uri", ["http://", "http://host:x", "http://host?a=b", "http://[::1"])
def test_an_address_that_is_none_is_mlflows(uri: str) -> None:
    """MLflow says what is wrong with it."""
    with pytest.raises(OnlyMlflowError):
        server(uri)


def test_a_plugin_that_changes_requests_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is in the metadata of what is installed; it is not loaded."""
    assert plugins.changes_requests() is None
    info = tmp_path / "acme_auth-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[mlflow.request_header_provider]\nacme = acme:Headers")
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins.changes_requests() == "acme_auth"
    with pytest.raises(OnlyMlflowError, match="acme_auth"):
        server("http://registry.example")
