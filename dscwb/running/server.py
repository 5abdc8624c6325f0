"""The server's end: it holds the captured model and finishes what devices have begun."""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from hmac import compare_digest
from typing import Any, Self

import torch

from dscwb.capturing.captured import CapturedModel
from dscwb.running import frames
from dscwb.running.encodings import decode, encode
from dscwb.running.ends import End, batch_size_of, leaves_of, settled
from dscwb.units import NO_OFFLOADING

LOOPBACK = ("127.0.0.1", "::1", "localhost")
GREETING_S = 10.0
"""A client that has not said who it is after so long is dropped."""


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
        self._turns = _Turns(waiting, waiting_bytes)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._door = socket.create_server(
            (bind, port), family=socket.AF_INET6 if ":" in bind else socket.AF_INET, backlog=128
        )
        self.address: tuple[str, int] = self._door.getsockname()[:2]
        self._end.hello  # noqa: B018  # the weights' digest, before anybody asks
        threading.Thread(target=self._welcome, name="dscwb-door", daemon=True).start()

    def __enter__(self) -> Self:
        """The server itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the port and all connections."""
        with self._lock:
            self._closed = True
            links = [self._door, *self._open]
        for link in links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    def _welcome(self) -> None:
        while True:
            try:
                link, _ = self._door.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(0.05)  # out of file descriptors: some will be closed
                continue
            with self._lock:
                full = self._closed or len(self._open) >= self._most_clients
                if not full:
                    self._open.add(link)
            if full:
                link.close()
                continue
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        secured = link
        try:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                link.settimeout(GREETING_S)
                secured = self._tls.wrap_socket(link, server_side=True)
            if self._greeted(secured):
                while True:
                    self._answer(secured)
        except (OSError, frames.FrameError):
            pass  # the client went away, or speaks another language: nobody is there to be told
        finally:
            with self._lock:
                self._open.discard(link)
            secured.close()

    def _greeted(self, link: socket.socket) -> bool:
        """Whether the client knows the token and holds the same model."""
        deadline_s = time.monotonic() + GREETING_S
        nonce = secrets.token_hex(16)
        frames.send(link, frames.Greeting(nonce=nonce), deadline_s=deadline_s)
        hello, _ = frames.receive(link, deadline_s)
        if not isinstance(hello, frames.Hello):
            raise frames.FrameError("no hello")
        reason = ""
        if self._token and not compare_digest(hello.proof, frames.proof(self._token, nonce)):
            reason = "the token is wrong or missing"
        elif difference := self._end.difference(hello):
            reason = f"the client holds another model. {difference}"[:500]
        elif unknown := [name for name in hello.cuts if name not in self._end.cuts]:
            reason = f"the model here has no cut {unknown[0]!r}"[:500]
        if reason:
            frames.send(link, frames.Refused(reason=reason), deadline_s=deadline_s)
            return False
        for name in hello.cuts:
            self._end.halves(name)
        frames.send(link, frames.Welcome(device=str(self._end.captured.device)))
        return True

    def _answer(self, link: socket.socket) -> None:
        """Read one request and answer it."""
        run, size = frames.receive(link)
        if not isinstance(run, frames.Run):
            raise frames.FrameError("no request")
        try:
            cut = self._end.cut(run.cut)
            if cut.is_output:
                raise ValueError(f"{NO_OFFLOADING} leaves nothing to do here")
            batch_size = batch_size_of(cut.frontier, run.tensors)
            if batch_size > self._max_batch_size:
                raise ValueError(f"batch size {batch_size} is over {self._max_batch_size}")
        except ValueError as error:
            frames.discard(link, size)
            frames.send(link, frames.Failed(request=run.request, reason=f"{error}"[:500]))
            return
        if not self._turns.enter(size):
            frames.discard(link, size)
            told = frames.Failed(request=run.request, reason="too many wait already", busy=True)
            frames.send(link, told)
            return
        try:
            result, parts = self._finish(run, frames.payload(link, size))
        finally:
            self._turns.leave(size)
        frames.send(link, result, parts)

    def _finish(self, run: frames.Run, payload: memoryview) -> tuple[Any, list[memoryview]]:
        """Decode, run the tail in turn, encode; what fails is told and the connection goes on."""
        try:
            asked = time.perf_counter()
            with self._turns.turn(), torch.inference_mode():
                begun = time.perf_counter()
                tensors = decode(run.tensors, payload, run.compression)
                device = self._end.captured.device
                sent = tuple(x.to(device) for x in tensors)
                decoded = settled(device)
                output = self._end.halves(run.cut)[1](sent)
                finished = settled(device)
                tensors, leaves = leaves_of(output)
                headers, parts = encode(tensors)
                done = time.perf_counter()
        except (ValueError, RuntimeError, torch.OutOfMemoryError) as error:
            return frames.Failed(request=run.request, reason=f"{error}"[:500]), []
        return frames.Result(
            request=run.request,
            tensors=tuple(headers),
            leaves=leaves,
            queue_s=begun - asked,
            decode_s=decoded - begun,
            tail_s=finished - decoded,
            encode_s=done - finished,
        ), parts


class _Turns:
    """One at a time, first come, first served; so many may wait."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._inside, self._bytes = 0, 0
        self._waiting: deque[threading.Lock] = deque()
        self._taken, self._lock = False, threading.Lock()

    def enter(self, size: int) -> bool:
        """Whether there is room for one more; the first always has some."""
        with self._lock:
            room = self._inside <= self._most and self._bytes + size <= self._most_bytes
            if room or not self._inside:
                self._inside, self._bytes = self._inside + 1, self._bytes + size
                return True
            return False

    def leave(self, size: int) -> None:
        with self._lock:
            self._inside, self._bytes = self._inside - 1, self._bytes - size

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn."""
        own = threading.Lock()
        own.acquire()
        with self._lock:
            wait, self._taken = self._taken, True
            if wait:
                self._waiting.append(own)
        if wait:
            own.acquire()
        try:
            yield
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting.popleft().release()  # the turn is handed on, never free between
                else:
                    self._taken = False
