"""A model at both ends of an emulated link on this machine, with what is predicted for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from numpy.typing import ArrayLike

from dscwb.capturing.captured import CapturedModel
from dscwb.controller import Controller
from dscwb.measuring.measure import profile
from dscwb.profiles.library import ProfileLike, as_profile
from dscwb.profiles.records import Profile
from dscwb.running.client import SplitClient
from dscwb.running.emulated import EmulatedLink
from dscwb.running.local import pinned, processors, profiled, served
from dscwb.running.models import built
from dscwb.study.study import Study
from dscwb.study.sweeps import sweep
from dscwb.units import Told, format_rate

WAIT_S = 0.02
"""Idle time before each measured pass: in a split each half waits for the other. Gaps from 5 to
100 ms made passes alike longer, on x86."""
FEWEST_PASSES = 10


@dataclass(frozen=True, eq=False, repr=False)
class Rig(Told):
    """A model that is ready to run split, and the study that predicts how long it takes.

    Attributes:
        study: What is predicted. Its scenario is what runs too: round trip, encodings, slower
            device.
        captured: The model as the device has it.
        serves: Words after ``dscwb serve`` that make the same model a server's.
        threads: CPU threads of each end.
        processors: That of the device and that of the server; None where an end may use all.

    Example:
        A split and its link, in a notebook::

            sent = {"input_encoding": "uint8", "feature_encoding": "int8"}
            rig = dscwb.Rig.measured("mobilenetv3_small_100", **sent)
            with rig.running(data_rate_bps=20e6) as (client, link):
                answer = client.run(*rig.captured.inputs(1), split="full offloading")
                link.set_rate(5e6)
    """

    study: Study
    captured: CapturedModel
    serves: tuple[str, ...]
    threads: int
    processors: tuple[int | None, int | None]

    @classmethod
    def measured(
        cls,
        model: str,
        image_size: int | None = None,
        *,
        weights: str | Path | None = None,
        seed: int = 0,
        threads: int = 1,
        batch_sizes: Sequence[int] = (1,),
        data_rates_bps: ArrayLike | None = None,
        edge: ProfileLike | None = None,
        server: ProfileLike | None = None,
        budget_s: float = 8.0,
        at_once: bool = False,
        apart: bool = True,
        **scenario: Any,
    ) -> Self:
        """Build the model and measure both ends, each in a process of its own.

        Args:
            model: A timm name or a ``.pt2`` file.
            image_size: Side of the image; the model's own if left out.
            weights: As for `dscwb.running.models.built`.
            seed: Of random weights.
            threads: CPU threads of each end.
            batch_sizes: Those to measure.
            data_rates_bps: Those of the study, bit/s; `dscwb.sweep`'s if left out.
            edge: Profile of the device, which is then not measured.
            server: The same of the server.
            budget_s: Seconds of measuring at each end and batch size.
            at_once: Both ends are measured at the same time, which takes half as long and is less
                true where they share more than memory.
            apart: Each end has one processor, where there are two. Without, both use all.
            scenario: Fields of `dscwb.Scenario`.

        Raises:
            RuntimeError: A measurement failed; says why.
        """
        size = [] if image_size is None else ["--image-size", f"{image_size}"]
        same = [*size, "--threads", f"{threads}"]
        own = ["--seed", f"{seed}", *([] if weights is None else ["--weights", f"{weights}"])]
        cores = processors() if apart else (None, None)
        options = [*same, "--budget", f"{budget_s}", "--gap-ms", f"{1e3 * WAIT_S:g}"]
        wanted = [core for core, given in zip(cores, (edge, server), strict=True) if given is None]
        found = iter(profiled(model, batch_sizes, options, wanted, at_once=at_once))
        one, other = (as_profile(given or next(found)) for given in (edge, server))
        study = sweep(
            one, other, data_rates_bps=data_rates_bps, batch_sizes=batch_sizes, **scenario
        )
        captured = built(model, image_size, weights=weights, seed=seed)
        return cls(study, captured, (model, *same, *own), threads, cores)

    def measure(self, end: int, budget_s: float) -> Profile:
        """Measure one end once more, shortly and in this process: 0 the device, 1 the server.

        Args:
            end: Which.
            budget_s: Seconds of measuring at each batch size.
        """
        with pinned(self.processors[end]):
            return profile(
                self.captured,
                self.study.batch_sizes,
                threads=self.threads,
                passes=FEWEST_PASSES,
                budget_s=budget_s,
                gap_s=WAIT_S,
            )

    def controller(self, data_rate_bps: float) -> Controller:
        """One that follows the study's policy and expects this rate, bit/s, at first."""
        round_trip_s = self.study.scenario.link.round_trip_s
        return Controller(
            self.study.policy(), data_rate_bps=data_rate_bps, round_trip_s=round_trip_s
        )

    @contextmanager
    def connected(self, address: tuple[str, int], **options: Any) -> Iterator[SplitClient]:
        """The device's end in this process, as the scenario says, connected to a server.

        Args:
            address: Host and port.
            options: More of `SplitClient`'s arguments.

        Raises:
            OSError: There is no server at this address.
            RefusedError: The server holds another model.
        """
        scenario, before = self.study.scenario, torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with (
                pinned(self.processors[0]),
                SplitClient(
                    self.captured,
                    address,
                    input_encoding=scenario.input_encoding,
                    feature_encoding=scenario.feature_encoding,
                    slowdown=scenario.device_slowdown,
                    **options,
                ) as client,
            ):
                yield client
        finally:
            torch.set_num_threads(before)

    @contextmanager
    def running(
        self, data_rate_bps: float, **options: Any
    ) -> Iterator[tuple[SplitClient, EmulatedLink]]:
        """A server in a process of its own, an emulated link, and a client here; all end after it.

        Args:
            data_rate_bps: Of the link at first, bit/s.
            options: More of `SplitClient`'s arguments.

        Raises:
            RuntimeError: The server did not start; says why.
        """
        link = self.study.scenario.link
        with (
            served(self.serves, self.processors[1]) as address,
            EmulatedLink(
                address,
                data_rate_bps=data_rate_bps,
                downlink_bps=link.downlink_bps,
                round_trip_s=link.round_trip_s,
            ) as real,
            self.connected(real.address, **options) as client,
        ):
            yield client, real

    def summary(self) -> dict[str, str]:
        """What it is, in a few words each."""
        rates = self.study.data_rates_bps
        return {
            "Model": f"{self.captured.graph.model}, both ends on this machine, {self.threads} CPU "
            f"threads each",
            "Batch sizes": ", ".join(map(str, self.study.batch_sizes)),
            "Data rates": f"{format_rate(rates.min())} to {format_rate(rates.max())}",
            "Scenario": self.study.scenario.label(),
        }
