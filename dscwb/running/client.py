"""The device's end: it runs heads, sends what crosses the cut, and always has an answer."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch.utils import _pytree as pytree

from dscwb.capturing.captured import CapturedModel
from dscwb.running import frames, messages
from dscwb.running.encodings import decode, encode
from dscwb.running.ends import End, settled
from dscwb.units import (
    FULL_OFFLOADING,
    NO_OFFLOADING,
    Encoding,
    encoding,
    format_bytes,
    format_seconds,
    shown_name,
)

CONNECT_S = 5.0
RETRY_S = 0.5
"""How long the background waits between two attempts to reach a server that went away."""

ELSEWHERE = ("encode_s", "queue_s", "decode_s", "tail_s", "reply_s")
"""What an answer's time holds beside head and link."""


class RefusedError(ValueError):
    """The server refuses this client: another model, other weights, a wrong token."""


@dataclass(frozen=True, repr=False)
class Answer:
    """The model's output for one batch, and where its time went. All times in seconds.

    Attributes:
        output: What the whole model gives.
        split: The split that was chosen, by the name that policies use.
        where: ``server`` or ``device``: who finished it.
        why: Why the device finished what was meant for the server; empty where it did not.
        total_s: From the call to the output.
        head_s: The head on the device.
        encode_s: From tensors to bytes on the device.
        link_s: Total minus all others: both ways through the link.
        queue_s: Waiting for others on the server.
        decode_s: From bytes to tensors, on both ends together.
        tail_s: The tail, on the server, or on the device where it finished the batch.
        reply_s: From the output's tensors to bytes on the server.
        sent_bytes: Bytes of the whole request.
        received_bytes: Bytes of the output's tensors.
    """

    output: Any
    split: str
    where: str
    why: str = ""
    total_s: float = 0.0
    head_s: float = 0.0
    encode_s: float = 0.0
    link_s: float = 0.0
    queue_s: float = 0.0
    decode_s: float = 0.0
    tail_s: float = 0.0
    reply_s: float = 0.0
    sent_bytes: int = 0
    received_bytes: int = 0

    def parts(self) -> dict[str, float]:
        """Where the time went, in seconds: head, encoding on both ends, link, queue and tail."""
        return {
            "head": self.head_s,
            "encoding": self.encode_s + self.decode_s + self.reply_s,
            "link": self.link_s,
            "queue": self.queue_s,
            "tail": self.tail_s,
        }

    def __repr__(self) -> str:
        """The answer in two lines, without the output's values."""
        end = f", finished on the device: {self.why}" if self.why else ""
        told = ", ".join(f"{name} {format_seconds(x)}" for name, x in self.parts().items() if x)
        return (
            f"{shown_name(self.split)} in {format_seconds(self.total_s)}{end}\n"
            f"{told}; {format_bytes(self.sent_bytes)} sent"
        )


class SplitClient:
    """Runs a model split between this device and a `TailServer`.

    Where the server does not answer in time, or not at all, the device finishes the batch itself
    from the features that it has, at once; a connection that broke is made anew in the background.
    """

    def __init__(
        self,
        captured: CapturedModel,
        address: tuple[str, int],
        *,
        choose: Callable[[int], str] | None = None,
        seen: Callable[[int, Answer], None] | None = None,
        cuts: Sequence[str] = (),
        input_encoding: str | Encoding = "float32",
        feature_encoding: str | Encoding = "float32",
        compression: messages.Compression = "none",
        deadline_s: float = 5.0,
        slowdown: float = 1.0,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connect.

        Args:
            captured: The model, with the same weights as the server's.
            address: Host and port of the server, or of what lies before it.
            choose: Gives the split for a batch size, before every batch; `Controller.choose` of
                `dscwb.policy`. If left out, `run` needs ``split=``.
            seen: Told of every batch size and answer; `Controller.observe`.
            cuts: Splits that will be asked for: the server makes their tails now.
            input_encoding: How the model's input is written.
            feature_encoding: How all other tensors are written.
            compression: ``zstd`` for lossless compression of what is sent.
            deadline_s: Seconds for the server's answer, from the first byte that is sent.
            slowdown: Emulates a slower device: what it computes is waited for this many times as
                long. 1 for the device as it is.
            token: The server's secret.
            tls: A client's context of the standard library; plain TCP if left out.

        Raises:
            RefusedError: The server holds another model, or the token is wrong.
            OSError: There is no server at this address.
        """
        self._end = End(captured)
        call = captured.call  # of tensors alone, by place: they need not be flattened
        by_place = pytree.tree_structure((call.leaves, {})) == call.structure
        tensors = set(call.leaves) == {torch.Tensor}
        self._plain = list(call.leaves) if by_place and tensors else []
        self._address, self._token, self._tls = address, token, tls
        self._choose, self._seen = choose, seen
        for name in (*cuts, NO_OFFLOADING):
            self._end.halves(name)
        known = [name for name in cuts if name != NO_OFFLOADING]
        self._slowdown = slowdown
        self._hello = self._end.hello.model_copy(update={"cuts": tuple(known)})
        self._encodings = encoding(input_encoding), encoding(feature_encoding)
        self.compression, self._deadline_s = compression, deadline_s
        self._request = 0
        self._one_at_a_time = threading.Lock()
        self._changed = threading.Condition()
        self._closed = False
        self._lost = ""
        self._trying: socket.socket | None = None
        self._link: frames.Link | None = self._connect()
        self._keeper = threading.Thread(target=self._keep, name="dscwb-keeper", daemon=True)
        self._keeper.start()

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connection; afterwards every batch is finished here."""
        with self._changed:
            self._closed = True
            trying = self._trying
            self._changed.notify_all()
        self._drop("the client is closed")
        if trying:  # the keeper waits for an answer
            with contextlib.suppress(OSError):
                trying.shutdown(socket.SHUT_RDWR)
        self._keeper.join()

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the server now."""
        return self._link is not None

    def halves(self, split: str) -> tuple[torch.fx.GraphModule, torch.fx.GraphModule]:
        """Head and tail as this client runs them; ValueError where there is no such split."""
        return self._end.halves(split)

    def encoding_of(self, split: str) -> Encoding:
        """How what crosses this cut is written."""
        return self._encodings[split != FULL_OFFLOADING]

    def run(self, *args: Any, split: str | None = None, **kwargs: Any) -> Answer:
        """Run the model on one batch.

        Args:
            args: What the model takes.
            split: ``full offloading``, ``no offloading`` or the block after which to split; the
                client's `choose` decides if left out.
            kwargs: What the model takes by name.

        Raises:
            ValueError: The model has no such split, or takes other inputs. Whatever else the model
                itself raises for these inputs.
        """
        plain = self._plain and not kwargs and [type(x) for x in args] == self._plain
        inputs = args if plain else self._end.captured.flatten(*args, **kwargs)
        size = self._batch_size(inputs)
        if split is None and self._choose is None:
            raise ValueError("No split is given; give split=, or choose= to the client.")
        name = split or self._choose(size)  # type: ignore[misc]  # one of them is there
        with self._one_at_a_time:
            answer = self._run(name, inputs)
        if self._seen:
            self._seen(size, answer)
        return answer

    def _slowed(self, begun: float) -> float:
        """When a device slowed down would have done what was begun then; waits for it, busily."""
        now = settled(self._end.captured.device)
        end = begun + self._slowdown * (now - begun)
        while now < end:
            now = time.perf_counter()
        return now

    def _batch_size(self, inputs: Sequence[torch.Tensor]) -> int:
        for spec, x in zip(self._end.captured.graph.inputs, inputs, strict=True):
            for axis in spec.batch_axes:
                return x.shape[axis] // spec.shape[axis]
        return 1

    def _run(self, name: str, inputs: Sequence[torch.Tensor]) -> Answer:
        head, tail = self._end.halves(name)
        cut = self._end.cut(name)
        begun = time.perf_counter()
        with torch.inference_mode():
            sent = head(*inputs)
            headed = self._slowed(begun)
            found, why = None, ""
            if not cut.is_output:
                try:
                    found = self._offload(name, sent, headed, inputs)
                except (OSError, messages.FrameError) as error:
                    why = _told(error)
                    self._drop(why)
                except ValueError as error:  # nothing was sent, or the server could not do it
                    why = f"{error}"
                except BaseException:  # Ctrl-C: the answer of this request must not be the next's
                    self._drop("interrupted")
                    raise
            if found is None:
                before = time.perf_counter()
                found = {"output": tail(sent), "where": "device", "why": why}
                found["tail_s"] = self._slowed(before) - before
        total_s, head_s = time.perf_counter() - begun, headed - begun
        link_s = total_s - head_s - sum(found.get(part, 0.0) for part in ELSEWHERE)
        return Answer(split=name, total_s=total_s, head_s=head_s, link_s=max(0.0, link_s), **found)

    def _offload(
        self,
        name: str,
        sent: Sequence[torch.Tensor],
        headed: float,
        inputs: Sequence[torch.Tensor],
    ) -> dict[str, Any]:
        """The output by the server, and what it took; as `Answer` calls them."""
        link = self._link
        if link is None:
            raise ValueError(f"no connection to the server ({self._lost})")
        if constant := self._end.changed_constant(inputs):
            raise ValueError(
                f"{constant} has no batch axis and differs from the capture's, which the server has"
            )
        headers, parts = encode(sent, self.encoding_of(name), self.compression)
        encoded = time.perf_counter()
        self._request += 1
        run = messages.Run(
            request=self._request,
            cut=name,
            tensors=tuple(headers),
            compression=self.compression,
        )
        deadline_s = time.monotonic() + self._deadline_s
        sent_bytes = frames.send(link, run, parts, deadline_s)
        result, size = frames.receive(link, deadline_s)
        if isinstance(result, messages.Failed) and result.request == run.request:
            raise ValueError(f"the server says: {result.reason}")
        if not isinstance(result, messages.Result) or result.request != run.request:
            raise messages.FrameError(f"a {result.kind} where the result was due.")
        data = frames.payload(link, size, deadline_s)
        arrived = time.perf_counter()
        device = self._end.captured.device
        there = None if device.type == "cpu" else device
        tensors = decode(result.tensors, data, result.compression, there)
        output = self._end.rebuilt(result, tensors)
        decoded = settled(device)
        return {
            "output": output,
            "where": "server",
            "encode_s": encoded - headed,
            "queue_s": result.queue_s,
            "decode_s": result.decode_s + decoded - arrived,
            "tail_s": result.tail_s,
            "reply_s": result.encode_s,
            "sent_bytes": sent_bytes,
            "received_bytes": size,
        }

    def _connect(self) -> frames.Link:
        deadline_s = time.monotonic() + CONNECT_S
        connected = socket.create_connection(self._address, timeout=CONNECT_S)
        try:
            if self._tls:
                connected = self._tls.wrap_socket(connected, server_hostname=self._address[0])
            link = frames.Link(connected)
            with self._changed:
                self._trying = connected
                if self._closed:
                    raise ConnectionError("closed meanwhile")
            greeting, _ = frames.receive(link, deadline_s)
            if (
                not isinstance(greeting, messages.Greeting)
                or greeting.protocol != messages.PROTOCOL
            ):
                raise RefusedError(
                    f"this client speaks protocol {messages.PROTOCOL}; update one end."
                )
            shown = messages.proof(self._token, greeting.nonce) if self._token else ""
            hello = self._hello.model_copy(update={"proof": shown})
            frames.send(link, hello, deadline_s=deadline_s)
            # The server makes its tails before it answers.
            said, _ = frames.receive(link, deadline_s + 60)
            if isinstance(said, messages.Refused):
                raise RefusedError(said.reason)
            if not isinstance(said, messages.Welcome):
                raise messages.FrameError(f"a {said.kind} where the welcome was due.")
        except BaseException:
            connected.close()
            raise
        finally:
            self._trying = None
        return link

    def _was_closed(self) -> bool:
        with self._changed:
            return self._closed

    def _drop(self, why: str) -> None:
        """Give the connection up; the background makes another."""
        with self._changed:
            link, self._link, self._lost = self._link, None, why
            self._changed.notify_all()
        if link is not None:
            with contextlib.suppress(OSError):
                link.socket.close()

    def _keep(self) -> None:
        """Reconnect whenever the connection is gone, until the client is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._link is None)
            if self._was_closed():
                return
            try:
                link = self._connect()
            except (OSError, messages.FrameError, RefusedError) as error:
                with self._changed:
                    self._lost = _told(error)
                    self._changed.wait_for(lambda: self._closed, RETRY_S)
                continue
            with self._changed:
                self._link = link
            if self._was_closed():  # meanwhile
                self._drop("the client is closed")


def _told(error: Exception) -> str:
    return "no answer within the deadline" if isinstance(error, TimeoutError) else f"{error}"
