"""A fleet held against executed runs: 1, 4 and 16 clients on one server of this machine.

    python -m benchmarks.fleet_run

The server is measured before and after each run, as `dscwb validate` does: a machine drifts. All
clients offload fully, from one process on one processor, where a head would wait for those of the
others; the server has the other processor. Each client's requests come at the very times that
`dscwb.fleet` draws for it, so that chance is the same on both sides; nothing else is: the
prediction knows the server's profile and what a message and its codecs cost, no request of a run.

How much of its error is the machine's, which does not keep its speed for ten seconds, a second
figure tells: the same fleet, told what a request took in this very run beside its waiting.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import fmean as mean
from statistics import median

import torch

import dscwb
from dscwb.profiles.pooling import pooled
from dscwb.running.client import Answer
from dscwb.running.local import served
from dscwb.running.prediction import codec_s, on_this_link, with_
from dscwb.units import FULL_OFFLOADING

MODELS = ("mobilenetv3_large_100", "resnet18", "vit_tiny_patch16_224")
CLIENTS, UTILISATIONS = (1, 4, 16), (0.3, 0.6, 0.8)
MEASURED_S = 1.0
BOUND = 10.0  # %, median error of the mean latency
LOOPBACK_BPS = 1e11  # nothing is shaped: what a message costs is measured


@dataclass(frozen=True)
class Cell:
    """One run. Means in seconds, of as many requests."""

    clients: int
    utilisation: float
    requests: int
    predicted_s: float
    executed_s: float
    queued_s: float

    @property
    def error(self) -> float:
        """Of the prediction, as a share of what was executed."""
        return self.predicted_s / self.executed_s - 1

    @property
    def queue_error(self) -> float:
        """The same of the fleet that is told what requests took beside their waiting."""
        return self.queued_s / self.executed_s - 1


def executed(
    clients: Sequence[dscwb.SplitClient],
    inputs: Sequence[torch.Tensor],
    arrivals: dscwb.Arrivals,
    seconds: float,
) -> list[tuple[float, Answer]]:
    """Answers, and latencies from when a request came, its client free or not."""
    start, found = time.perf_counter() + 0.1, []

    def asks(number: int, client: dscwb.SplitClient) -> None:
        for due_s in arrivals.until(seconds, [0, 0, number, 0]):
            time.sleep(max(0.0, start + due_s - time.perf_counter()))
            answer = client.run(*inputs, split=FULL_OFFLOADING)
            assert answer.where == "server"
            found.append((time.perf_counter() - start - due_s, answer))

    threads = [threading.Thread(target=asks, args=both) for both in enumerate(clients)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return found


def mean_s(kind: dscwb.Devices, seconds: float) -> float:
    """The fleet's mean latency."""
    found = dscwb.fleet([kind], duration_s=seconds, strategies=[FULL_OFFLOADING])
    return float(found.table().loc[(FULL_OFFLOADING, "all"), "mean_s"])


def cells(model: str, seconds: float) -> list[Cell]:
    """All runs of a model, one after the other; as many seconds each."""
    sent = {"input_encoding": "float32", "feature_encoding": "float32"}
    rig = dscwb.Rig.measured(model, **sent)
    inputs, found = rig.captured.inputs(1), []
    loopback = dscwb.Trace([0], [LOOPBACK_BPS], duration_s=seconds)
    with served(rig.serves, rig.processors[1]) as address, ExitStack() as stack:
        cuts = {"cuts": [FULL_OFFLOADING]}
        clients = [stack.enter_context(rig.connected(address, **cuts)) for _ in range(max(CLIENTS))]
        link = on_this_link(clients[0], rig.study, inputs, 1, LOOPBACK_BPS).scenario.link
        codec = codec_s(clients[0], inputs, FULL_OFFLOADING)
        link = replace(link, round_trip_s=link.round_trip_s + codec)
        for many in CLIENTS:
            for utilisation in UTILISATIONS:
                before = rig.measure(1, MEASURED_S)
                arrivals = dscwb.Arrivals(utilisation / before.total_s(1) / many, poisson=True)
                took = executed(clients[:many], inputs, arrivals, seconds)
                server = pooled([before, rig.measure(1, MEASURED_S)])
                study = with_(rig.study, server=server, link=link)
                kind = dscwb.Devices("client", study, many, loopback, arrivals, one_at_a_time=True)
                answers = [answer for _, answer in took]
                turn_s = mean(one.decode_s + one.tail_s + one.reply_s for one in answers)
                beside_s = mean(one.total_s - one.queue_s for one in answers) - turn_s
                same = with_(
                    rig.study,
                    server=dscwb.scale_profile(server, server.total_s(1) / turn_s),
                    link=dscwb.Link(round_trip_s=beside_s),
                )
                cell = Cell(
                    many,
                    utilisation,
                    len(took),
                    mean_s(kind, seconds),
                    mean(latency_s for latency_s, _ in took),
                    mean_s(replace(kind, study=same), seconds),
                )
                print(
                    f"{model}, {many:2} clients, utilisation {utilisation:.1f}: mean of "
                    f"{cell.requests} predicted {1e3 * cell.predicted_s:.2f} ms, executed "
                    f"{1e3 * cell.executed_s:.2f} ms, {100 * cell.error:+.1f} % "
                    f"(its waiting alone: {100 * cell.queue_error:+.1f} %)",
                    flush=True,
                )
                found.append(cell)
    return found


def main() -> None:
    """Print every run, and the median error beside its bound."""
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--seconds", type=float, default=8.0, help="of each run")
    words.add_argument("--models", default=",".join(MODELS))
    given = words.parse_args()
    found = [cell for model in given.models.split(",") for cell in cells(model, given.seconds)]
    error = 100 * median(abs(one.error) for one in found)
    alone = 100 * median(abs(one.queue_error) for one in found)
    print(
        f"median error of the mean latency: {error:.1f} % (at most {BOUND:g} %); "
        f"of the waiting alone {alone:.1f} %"
    )


if __name__ == "__main__":
    main()
