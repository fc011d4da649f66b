"""A reverse proxy that damages what a store answers, and counts what was asked of it.

    with FaultProxy(store.endpoint) as proxy:
        proxy.fault(Fault(Action.CUT, suffix="model.safetensors", at=1000, times=1))
        store.client(proxy.endpoint).get_object(...)

It speaks HTTP/1.1 and passes heads on as they are, `Host` too, so that signed requests stay valid.
"""

from __future__ import annotations

import fcntl
import re
import select
import socket
import socketserver
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote, urlsplit

_BLOCK = 256 * 1024
_HEAD_LIMIT = 256 * 1024
_PATIENCE = 120.0
_LEFT = getattr(select, "POLLRDHUP", 0)  # that a client closed, not that it sent more

Hook = Callable[[str, str, str | None], None]
"""Called with the method, the path and the `Range` of a request before it is passed on."""


class Action(StrEnum):
    """What a fault does. Those up to SHORT are about one byte of a good answer's body."""

    CUT = "cut"
    """Reset the connection when the body reaches the byte."""
    STALL = "stall"
    """Send nothing from the byte on, and keep the connection open."""
    TRICKLE = "trickle"
    """Send one byte a second from the byte on."""
    CORRUPT = "corrupt"
    """Flip one bit of the byte."""
    SHORT = "short"
    """Announce and send a body that ends before the byte."""
    STATUS_500 = "status-500"
    """Answer InternalError without asking the store."""
    STATUS_503 = "status-503"
    """Answer SlowDown without asking the store."""
    DENIED = "denied"
    """Answer 403 ExpiredToken without asking the store."""
    GONE = "gone"
    """Close the connection without an answer, and without asking the store."""
    LOSE_REPLY = "lose-reply"
    """Ask the store, then close the connection without passing its answer on."""
    DELAY = "delay"
    """Wait for some seconds before asking the store; other faults may follow."""


_BODY = {Action.CUT, Action.STALL, Action.TRICKLE, Action.CORRUPT, Action.SHORT}
_ERRORS = {
    Action.STATUS_500: (500, "Internal Server Error", "InternalError"),
    Action.STATUS_503: (503, "Service Unavailable", "SlowDown"),
    Action.DENIED: (403, "Forbidden", "ExpiredToken"),
}


@dataclass(frozen=True)
class Fault:
    """A rule: what happens to which requests.

    Attributes:
        action: what happens.
        method: the method of the requests it is about.
        suffix: how their decoded path ends, without the query.
        times: how often it happens; without an end when None.
        at: the byte it happens at, counted from the start of the object, not of the answer. An
            answer without that byte is left alone and does not count.
        seconds: how long DELAY waits.
    """

    action: Action
    method: str = "GET"
    suffix: str = ""
    times: int | None = None
    at: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Seen:
    """A request.

    Attributes:
        method: its method.
        path: its decoded path, without the query.
        range: its `Range` header.
        status: the status that was sent to the client; 0 when there was none (yet).
        bytes_sent: how many bytes of the answer's body were sent to the client.
        query: its query, as it was sent.
    """

    method: str
    path: str
    range: str | None
    status: int
    bytes_sent: int
    query: str = ""


class FaultProxy:
    """A proxy in front of one server, on a free port of this machine."""

    def __init__(self, upstream: str) -> None:
        address = urlsplit(upstream)
        self.upstream = (address.hostname or "127.0.0.1", address.port or 80)
        self.on_request: Hook | None = None
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._exchanges: list[_Exchange] = []
        self._faults: list[_Counted] = []
        self._hits = 0
        self._sockets: set[socket.socket] = set()
        self._server = _Listener(("127.0.0.1", 0), self._serve)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="fault-proxy", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> FaultProxy:
        """The proxy runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """Close all connections and refuse new ones."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self._lock:
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def fault(self, rule: Fault) -> None:
        """Add a rule. Of several that fit a request, those added first come first."""
        with self._lock:
            self._faults.append(_Counted(rule, rule.times))

    def clear(self) -> None:
        """Remove all rules; what already happens to a request goes on."""
        with self._lock:
            self._faults.clear()

    @property
    def hits(self) -> int:
        """How often a fault happened since the start or the last `reset`."""
        return self._hits

    @property
    def seen(self) -> list[Seen]:
        """All requests since the start or the last `reset`, those that still run too."""
        with self._lock:
            return [exchange.seen() for exchange in self._exchanges]

    @property
    def bytes_sent(self) -> int:
        """How many bytes of answers' bodies were sent to clients."""
        return sum(one.bytes_sent for one in self.seen)

    def requests(self, suffix: str = "", method: str | None = None) -> list[Seen]:
        """The requests whose path ends in a certain way, of one method or of all."""
        return [
            one
            for one in self.seen
            if one.path.endswith(suffix) and (method is None or one.method == method)
        ]

    def reset(self) -> None:
        """Forget the requests and the hits; the rules stay."""
        with self._lock:
            self._exchanges.clear()
            self._hits = 0

    def begin(self, exchange: _Exchange) -> None:
        """Record a request."""
        with self._lock:
            self._exchanges.append(exchange)

    def faults_for(self, method: str, path: str) -> list[_Counted]:
        """The rules that fit a request."""
        with self._lock:
            return [
                one
                for one in self._faults
                if one.rule.method == method and path.endswith(one.rule.suffix) and one.left != 0
            ]

    def take(self, fault: _Counted) -> bool:
        """Use a rule once; false when it was used up meanwhile."""
        with self._lock:
            if fault.left == 0:
                return False
            if fault.left is not None:
                fault.left -= 1
            self._hits += 1
            return True

    def connect(self) -> socket.socket:
        """A new connection to the server behind the proxy."""
        made = socket.create_connection(self.upstream, timeout=_PATIENCE)
        self._adopt(made)
        return made

    def release(self, one: socket.socket) -> None:
        """Close a connection."""
        with self._lock:
            self._sockets.discard(one)
            one.close()

    def _adopt(self, one: socket.socket) -> None:
        """Prepare a connection, and remember to close it."""
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.add(one)
        if self.stopping.is_set():
            self.release(one)
            raise ConnectionError("the proxy stops")

    def _serve(self, client: socket.socket) -> None:
        """Answer the requests of one connection."""
        # what is not sent yet when a client leaves counts as sent, so there should be little
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BLOCK)
        client.settimeout(_PATIENCE)
        connection = _Connection(self, client)
        try:
            self._adopt(client)
            connection.serve()
        except (OSError, _ProtocolError):
            pass  # the client sees a closed connection
        finally:
            connection.close()


class _ProtocolError(Exception):
    """Somebody does not speak HTTP/1.1."""


class _ClosedError(Exception):
    """The connection to the client has to be closed."""


@dataclass
class _Counted:
    """A rule and how often it may still be used."""

    rule: Fault
    left: int | None


class _Listener(socketserver.ThreadingTCPServer):
    """Gives every connection a thread."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], serve: Callable[[socket.socket], None]) -> None:
        super().__init__(address, socketserver.BaseRequestHandler)
        self._serve = serve

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer one connection."""
        self._serve(request)

    def shutdown_request(self, request: Any) -> None:
        """Leave a connection that was closed, maybe hard, alone."""


class _Wire:
    """A socket, and what was read from it too early."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._early = b""
        self._block = memoryview(bytearray(_BLOCK))

    @property
    def has_input(self) -> bool:
        """Whether something was read too early."""
        return bool(self._early)

    def until(self, mark: bytes) -> bytes:
        """Everything up to a mark and the mark; nothing when the other side closed before."""
        found = self._early
        while (end := found.find(mark)) < 0:
            if len(found) > _HEAD_LIMIT:
                raise _ProtocolError("a head without an end")
            more = self.socket.recv(_BLOCK)
            if not more:
                if found:
                    raise ConnectionError("closed in the middle of a head")
                return b""
            found += more
        end += len(mark)
        self._early = found[end:]
        return found[:end]

    def some(self, limit: int) -> memoryview:
        """What is there, `limit` bytes at most, until the next call; empty at the end."""
        if self._early:
            piece, self._early = self._early[:limit], self._early[limit:]
            return memoryview(piece)
        return self._block[: self.socket.recv_into(self._block, min(limit, _BLOCK))]

    def exactly(self, length: int) -> Iterator[memoryview]:
        """So many bytes, in pieces."""
        while length:
            piece = self.some(length)
            if not piece:
                raise ConnectionError("closed in the middle of a body")
            length -= len(piece)
            yield piece


class _Head:
    """The head of a request or of an answer, with the exact bytes that were sent."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        first, *lines = raw.decode("latin-1").split("\r\n")
        self.first = first.split(" ", 2)
        if len(self.first) < 2:
            raise _ProtocolError(first)
        self.fields = {
            name.strip().lower(): value.strip()
            for name, found, value in (line.partition(":") for line in lines)
            if found
        }

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.first[1])

    @property
    def chunked(self) -> bool:
        """Whether a body comes in chunks."""
        return "chunked" in self.fields.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        """The length of a body, if it is announced."""
        value = self.fields.get("content-length")
        return None if value is None or self.chunked else int(value)

    @property
    def closes(self) -> bool:
        """Whether the connection ends after this."""
        return "close" in self.fields.get("connection", "").lower()

    @property
    def start(self) -> int:
        """Where in the object the body of an answer starts, also when a part has status 200."""
        found = re.match(r"bytes (\d+)-", self.fields.get("content-range", ""))
        return int(found[1]) if found else 0

    def with_length(self, length: int) -> bytes:
        """The head with another `Content-Length`."""
        line = b"\r\nContent-Length: %d\r\n" % length
        return re.sub(rb"(?i)\r\ncontent-length:[^\r]*\r\n", line, self.raw, count=1)


class _Exchange:
    """A request, and what the client got so far."""

    def __init__(self, head: _Head) -> None:
        self.head = head
        self.method = head.first[0]
        path, _, self.query = head.first[1].partition("?")
        self.path = unquote(path)
        self.range = head.fields.get("range")
        self.status = 0
        self.bytes_sent = 0

    def seen(self) -> Seen:
        """What is known by now."""
        return Seen(
            self.method, self.path, self.range, self.status, self.bytes_sent, query=self.query
        )


class _Connection:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, proxy: FaultProxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = _Wire(client)
        self._server: _Wire | None = None

    def serve(self) -> None:
        """Answer requests until one side closes."""
        with suppress(_ClosedError):
            while self._request_comes():
                raw = self._client.until(b"\r\n\r\n")
                if not raw:
                    return
                self._answer(_Exchange(_Head(raw)))

    def close(self) -> None:
        """Close both sides."""
        self._drop_server()
        self._proxy.release(self._client.socket)

    def _request_comes(self) -> bool:
        """Wait for a request; false when the server, which keeps us as long as it wants, left."""
        if self._client.has_input:
            return True
        sides = [self._client.socket, *([self._server.socket] if self._server else [])]
        ready = _readable(sides, None)
        if len(sides) == 2 and sides[1] in ready:
            self._drop_server()
        return sides[0] in ready

    def _answer(self, exchange: _Exchange) -> None:
        """Answer one request, with the faults it is due."""
        proxy = self._proxy
        proxy.begin(exchange)
        if proxy.on_request is not None:
            try:
                proxy.on_request(exchange.method, exchange.path, exchange.range)
            except Exception as error:
                # not to be taken for a connection that failed
                raise RuntimeError("the hook on_request failed") from error
        faults = proxy.faults_for(exchange.method, exchange.path)
        lost = False
        for fault in faults:
            action = fault.rule.action
            if action in _BODY or not proxy.take(fault):
                continue
            if action is Action.DELAY:
                self._pause(fault.rule.seconds)
                continue
            if action is Action.GONE:
                raise _ClosedError
            if action is not Action.LOSE_REPLY:
                self._refuse(exchange, *_ERRORS[action])
                return
            lost = True
            break
        answer, sent_all = self._ask(exchange)
        if lost:
            for _ in self._body(exchange, answer):
                pass
            raise _ClosedError
        body = [f for f in faults if f.rule.action in _BODY and 200 <= answer.status < 300]
        self._pass_on(exchange, answer, body)
        if not sent_all:
            self._drop_server()
        if not sent_all or answer.closes or exchange.head.closes:
            raise _ClosedError

    def _ask(self, exchange: _Exchange) -> tuple[_Head, bool]:
        """Send a request to the server; its answer, and whether it took the whole body."""
        if self._server is None:
            self._server = _Wire(self._proxy.connect())
        server, client, head = self._server, self._client, exchange.head
        server.socket.sendall(head.raw)
        asks = "100-continue" in head.fields.get("expect", "").lower() and not client.has_input
        # a client that gets no answer to this sends the body nevertheless
        if asks and server.socket in _readable([server.socket, client.socket], _PATIENCE):
            answer = self._read_answer()
            if answer.status != 100:
                return answer, False
            client.socket.sendall(answer.raw)
        sent_all = True
        for raw in _raw_body(client, head):
            # a server that wants no more may have answered already; the client sends the rest
            try:
                if sent_all:
                    server.socket.sendall(raw)
            except OSError:
                sent_all = False
        while (answer := self._read_answer()).status < 200:
            client.socket.sendall(answer.raw)
        return answer, sent_all

    def _read_answer(self) -> _Head:
        """The head of the server's answer."""
        assert self._server is not None
        raw = self._server.until(b"\r\n\r\n")
        if not raw:
            raise ConnectionError("the server closed the connection")
        return _Head(raw)

    def _body(self, exchange: _Exchange, answer: _Head) -> Iterator[memoryview]:
        """The server's answer after the head, without what chunks are wrapped in."""
        server = self._server
        assert server is not None
        if exchange.method == "HEAD" or answer.status in (204, 304):
            return
        if answer.chunked:
            while size := int(server.until(b"\r\n").partition(b";")[0], 16):
                yield from server.exactly(size)
                server.until(b"\r\n")
            while server.until(b"\r\n").strip():
                pass
        elif answer.length is not None:
            yield from server.exactly(answer.length)
        else:
            while piece := server.some(_BLOCK):
                yield piece
            self._drop_server()

    def _pass_on(self, exchange: _Exchange, answer: _Head, faults: list[_Counted]) -> None:
        """Send the server's answer to the client, with faults in its body."""
        body = self._body(exchange, answer)
        bare = exchange.method == "HEAD" or answer.status in (204, 304)
        raw, end, whole = answer.raw, None, True
        if not bare and answer.length is not None:
            end = answer.start + answer.length
            for fault in [f for f in faults if f.rule.action is Action.SHORT]:
                at = fault.rule.at
                if answer.start <= at < end and self._proxy.take(fault):
                    raw, end, whole = answer.with_length(at - answer.start), at, False
                    break
            faults = [f for f in faults if f.rule.action is not Action.SHORT]
        exchange.status = answer.status
        self._client.socket.sendall(raw)
        chunked = answer.chunked and not bare
        whole &= self._send_body(exchange, body, chunked, answer.start, end, faults)
        if chunked:
            self._client.socket.sendall(b"0\r\n\r\n")
        if not whole:
            self._drop_server()
        if not bare and answer.length is None and not answer.chunked:
            raise _ClosedError

    def _send_body(
        self,
        exchange: _Exchange,
        body: Iterator[memoryview],
        chunked: bool,
        position: int,
        end: int | None,
        faults: list[_Counted],
    ) -> bool:
        """Send a body from some position of the object to another; false when it ends early."""
        due = sorted((f for f in faults if f.rule.at >= position), key=lambda f: f.rule.at)
        slow = False
        while position != end and (piece := next(body, None)) is not None:
            if end is not None:
                piece = piece[: end - position]
            while piece:
                if slow:
                    self._pause(1.0)
                    size, fault = 1, None
                elif due and due[0].rule.at < position + len(piece):
                    fault = due.pop(0)
                    size = fault.rule.at - position
                else:
                    size, fault = len(piece), None
                self._send(exchange, piece[:size], chunked)
                piece = piece[size:]
                position += size
                if fault is None or not self._proxy.take(fault):
                    continue
                match fault.rule.action:
                    case Action.CORRUPT:
                        self._send(exchange, memoryview(bytes([piece[0] ^ 1])), chunked)
                        piece = piece[1:]
                        position += 1
                        due = [other for other in due if other.rule.at >= position]
                    case Action.TRICKLE:
                        slow = True
                    case Action.SHORT:
                        return False
                    case Action.STALL:
                        self._pause(_PATIENCE)
                        raise _ClosedError
                    case _:
                        self._cut()
        return True

    def _send(self, exchange: _Exchange, piece: memoryview, chunked: bool) -> None:
        """Send a piece of a body and count it, before the client can have read all of it."""
        if not piece:
            return
        connection = self._client.socket
        if chunked:
            connection.sendall(b"%x\r\n" % len(piece))
        exchange.bytes_sent += len(piece)
        sent = 0
        try:
            while sent < len(piece):
                sent += connection.send(piece[sent:])
        except OSError:
            exchange.bytes_sent -= len(piece) - sent
            raise
        if chunked:
            connection.sendall(b"\r\n")

    def _refuse(self, exchange: _Exchange, status: int, reason: str, code: str) -> None:
        """Answer an error as S3 does."""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{code}</Code><Message>{reason}</Message>"
            "<RequestId>fault</RequestId></Error>"
        ).encode()
        # a client that waits to be asked for the body must not send it
        asked = "expect" not in exchange.head.fields
        if asked:
            for _ in _raw_body(self._client, exchange.head):
                pass
        fields = ["Content-Type: application/xml", f"Content-Length: {len(body)}"]
        if not asked:
            fields.append("Connection: close")
        head = "\r\n".join([f"HTTP/1.1 {status} {reason}", *fields, "", ""])
        exchange.status = status
        self._client.socket.sendall(head.encode())
        if exchange.method != "HEAD":
            self._send(exchange, memoryview(body), chunked=False)
        if not asked:
            raise _ClosedError

    def _pause(self, seconds: float) -> None:
        """Wait, unless the client leaves or the proxy stops."""
        if _readable([self._client.socket], seconds, _LEFT) or self._proxy.stopping.is_set():
            raise _ClosedError

    def _cut(self) -> None:
        """Reset the connection as soon as the client has what was sent before."""
        connection = self._client.socket
        until = time.monotonic() + 5
        while time.monotonic() < until and _unsent(connection):
            time.sleep(0.001)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _ClosedError

    def _drop_server(self) -> None:
        """Close the connection to the server; the next request makes a new one."""
        if self._server is not None:
            self._proxy.release(self._server.socket)
            self._server = None


def _raw_body(wire: _Wire, head: _Head) -> Iterator[bytes | memoryview]:
    """A request's body exactly as it was sent."""
    if not head.chunked:
        yield from wire.exactly(head.length or 0)
        return
    while True:
        line = wire.until(b"\r\n")
        yield line
        size = int(line.partition(b";")[0], 16)
        if not size:
            break
        yield from wire.exactly(size + 2)
    while True:
        line = wire.until(b"\r\n")
        yield line
        if not line.strip():
            return


def _readable(
    sockets: list[socket.socket], seconds: float | None, events: int = select.POLLIN
) -> list[socket.socket]:
    """Those from which something can be read, or that were closed, after waiting for one."""
    poll = select.poll()  # unlike select, it takes any file number
    for one in sockets:
        poll.register(one, events)
    ready = {number for number, _ in poll.poll(None if seconds is None else seconds * 1000)}
    return [one for one in sockets if one.fileno() in ready]


def _unsent(connection: socket.socket) -> int:
    """How many bytes the other side has not received; Linux knows."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0
