"""The server's end: it holds the captured model and finishes what devices have begun."""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import threading
import time
from collections import deque
from functools import lru_cache
from hmac import compare_digest
from typing import Self

import torch

from dscwb.capturing.captured import CapturedModel
from dscwb.running import frames, messages
from dscwb.running.encodings import decode, encode
from dscwb.running.ends import End, batch_size_of, settled
from dscwb.units import NO_OFFLOADING

LOOPBACK = ("127.0.0.1", "::1", "localhost")
GREETING_S = 10.0
"""A client that has not said who it is after so long is dropped."""
BUSY = "too many wait already"
GOODBYE_S = 1.0
"""So long a client that is sent away may take to read why."""


class TailServer:
    """Runs tails for many clients, one at a time, in the order in which they ask.

    Example:
        >>> import dscwb, torch
        >>> module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2)).eval()
        >>> captured = dscwb.capture(module, (8,))
        >>> with dscwb.TailServer(captured) as server:
        ...     with dscwb.SplitClient(captured, server.address) as client:
        ...         client.run(torch.zeros(1, 8), split="full offloading").where
        'server'
    """

    def __init__(
        self,
        captured: CapturedModel,
        *,
        bind: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        clients: int = 128,
        waiting: int = 64,
        waiting_bytes: int = 1024**3,
        max_batch_size: int = 256,
    ) -> None:
        """Open the port; clients are answered from now on.

        Args:
            captured: The model, with the same weights as the clients'.
            bind: Address to listen at; beyond loopback only with a token.
            port: Port, 0 for any free one.
            token: Secret that clients must know; it never travels.
            tls: A server's context of the standard library; plain TCP if left out.
            clients: Most connections at a time; others are closed at once.
            waiting: Most requests that may wait for the processor; others are told that it is busy.
            waiting_bytes: Most bytes of their payloads together.
            max_batch_size: Larger batches are refused.

        Raises:
            ValueError: An address beyond loopback without a token, or a model with resident state.
            OSError: The address cannot be had.
        """
        if bind not in LOOPBACK and not token:
            raise ValueError(
                f"bind is {bind!r}, which other machines can reach, but there is no token; give "
                "token=, a secret that the clients know too."
            )
        self._end, self._token, self._tls = End(captured), token, tls
        self._max_batch_size, self._most_clients = max_batch_size, clients
        self._checked = lru_cache(self._check)  # most requests are like one before
        self._turns = _Turns(waiting, waiting_bytes)
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._door = socket.create_server(
            (bind, port), family=socket.AF_INET6 if ":" in bind else socket.AF_INET, backlog=128
        )
        self.address: tuple[str, int] = self._door.getsockname()[:2]
        self._end.hello  # noqa: B018  # the weights' digest, before anybody asks
        self._porter = threading.Thread(target=self._welcome, name="dscwb-door", daemon=True)
        self._porter.start()

    def __enter__(self) -> Self:
        """The server itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def waiting(self) -> int:
        """Requests that wait for the processor now."""
        return len(self._turns.waiting)

    def close(self) -> None:
        """Close the port and all connections; a tail that runs is waited for."""
        with self._lock:
            self._closed = True
            threads = dict(self._open)
        for link in (self._door, *threads.values()):
            _end(link)
        for thread in (self._porter, *threads):
            thread.join()

    def _welcome(self) -> None:
        while True:
            try:
                link, _ = self._door.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(0.05)  # out of file descriptors: some will be closed
                continue
            thread = threading.Thread(target=self._serve, args=(link,), daemon=True)
            with self._lock:
                if full := self._closed or len(self._open) >= self._most_clients:
                    link.close()
                else:
                    self._open[thread] = link
            if not full:
                thread.start()

    def _serve(self, connected: socket.socket) -> None:
        try:
            if self._tls:
                connected.settimeout(GREETING_S)
                connected = self._secured(connected, self._tls)
            link = frames.Link(connected)
            if self._greeted(link):
                while True:
                    self._answer(link)
        except messages.ClosedError:
            pass
        except messages.FrameError as error:
            self._send_away(link, f"{error}")
        except OSError:
            pass  # nobody is there to be told
        finally:
            with self._lock:
                self._open.pop(threading.current_thread()).close()

    def _secured(self, link: socket.socket, tls: ssl.SSLContext) -> socket.socket:
        secured = tls.wrap_socket(link, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open[threading.current_thread()] = secured
            if self._closed:
                raise ConnectionError("closed meanwhile")
        secured.do_handshake()
        return secured

    def _send_away(self, link: frames.Link, reason: str) -> None:
        """Say why, and read on a little: what nobody reads would take the reason with it."""
        deadline_s = time.monotonic() + GOODBYE_S
        with contextlib.suppress(OSError, messages.FrameError):
            frames.send(link, messages.Refused(reason=reason[:500]), deadline_s=deadline_s)
            link.socket.shutdown(socket.SHUT_WR)
            frames.discard(link, messages.PAYLOAD_LIMIT, deadline_s)

    def _greeted(self, link: frames.Link) -> bool:
        """Whether the client knows the token and holds the same model."""
        deadline_s = time.monotonic() + GREETING_S
        nonce = secrets.token_hex(16)
        frames.send(link, messages.Greeting(nonce=nonce), deadline_s=deadline_s)
        hello, _ = frames.receive(link, deadline_s)
        if not isinstance(hello, messages.Hello):
            raise messages.FrameError(f"a {hello.kind} where the hello was due.")
        reason = ""
        if self._token and not compare_digest(hello.proof, messages.proof(self._token, nonce)):
            reason = "the token is wrong or missing"
        elif difference := self._end.difference(hello):
            reason = f"the client holds another model. {difference}"
        elif unknown := [name for name in hello.cuts if name not in self._end.cuts]:
            reason = f"the model here has no cut {unknown[0]!r}"
        if reason:
            self._send_away(link, reason)
            return False
        for name in hello.cuts:
            self._end.halves(name)
        frames.send(link, messages.Welcome(device=str(self._end.captured.device)))
        return True

    def _answer(self, link: frames.Link) -> None:
        """Answer one request; what cannot be done is told, and the connection goes on."""
        run, size = frames.receive(link)
        if not isinstance(run, messages.Run):
            raise messages.FrameError(f"a {run.kind} where a request was due.")
        try:
            self._checked(run.cut, run.tensors)
            self._turns.enter(size)
        except (ValueError, BusyError) as error:
            frames.discard(link, size)
            frames.send(link, _failed(run, error))
            return
        result: messages.Result | messages.Failed
        try:
            payload = frames.payload(link, size)
            try:
                result, parts = self._finish(run, payload)
            except Exception as error:  # whatever a model may raise
                result, parts = _failed(run, error), []
        finally:
            self._turns.leave(size)
        try:
            frames.send(link, result, parts)
        except ValueError as error:  # an output over the limits
            frames.send(link, _failed(run, error))

    def _check(self, name: str, tensors: messages.Tensors) -> None:
        """Refuse what is no request for this model, and make its tail; ValueError says why."""
        cut = self._end.cut(name)
        if cut.is_output:
            raise ValueError(f"{NO_OFFLOADING} leaves nothing to do here")
        batch_size = batch_size_of(cut.frontier, tensors)
        if batch_size > self._max_batch_size:
            raise ValueError(f"batch size {batch_size} is over {self._max_batch_size}")
        self._end.halves(name)

    def _finish(
        self, run: messages.Run, payload: memoryview
    ) -> tuple[messages.Result, list[memoryview]]:
        """Decode, run the tail, encode, in turn."""
        asked = time.perf_counter()
        with self._turns, torch.inference_mode():
            begun = time.perf_counter()
            device = self._end.captured.device
            there = None if device.type == "cpu" else device
            sent = tuple(decode(run.tensors, payload, run.compression, there))
            decoded = settled(device)
            output = self._end.halves(run.cut)[1](sent)
            finished = settled(device)
            tensors, leaves = self._end.told(output)
            headers, parts = encode(tensors)
            done = time.perf_counter()
        return messages.Result(
            request=run.request,
            queue_s=begun - asked,
            decode_s=decoded - begun,
            tail_s=finished - decoded,
            encode_s=done - finished,
            tensors=tuple(headers),
            leaves=leaves,
        ), parts


def _failed(run: messages.Run, error: Exception) -> messages.Failed:
    reason = f"{error}"[:500] or type(error).__name__
    return messages.Failed(request=run.request, reason=reason, busy=isinstance(error, BusyError))


def _end(link: socket.socket) -> None:
    """Wake whoever reads from a socket, and close it."""
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    link.close()


class BusyError(Exception):
    """Too many wait already."""


class _Turns:
    """One at a time, first come, first served; so many may wait."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0
        self.waiting: deque[threading.Lock] = deque()
        self._taken, self._lock = False, threading.Lock()

    def enter(self, size: int) -> None:
        """Take room for a payload that is read and waits; BusyError where there is none.

        The first always has some.
        """
        with self._lock:
            over = self._bytes and self._bytes + size > self._most_bytes
            if over or len(self.waiting) >= self._most:
                raise BusyError(BUSY)
            self._bytes += size

    def leave(self, size: int) -> None:
        with self._lock:
            self._bytes -= size

    def __enter__(self) -> None:
        """Wait for one's turn; BusyError where too many do."""
        own = None
        with self._lock:
            if self._taken:
                if len(self.waiting) >= self._most:
                    raise BusyError(BUSY)
                own = threading.Lock()
                own.acquire()
                self.waiting.append(own)
            self._taken = True
        if own:
            own.acquire()  # until whoever was before hands the turn on

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self.waiting:
                self.waiting.popleft().release()  # the turn is handed on, never free between
            else:
                self._taken = False
