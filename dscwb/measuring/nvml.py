"""What a GPU did while it was measured: its clocks, and what held them down.

Needs nvidia-ml-py (``pip install dscwb[gpu]``); without it the provenance says "not sampled".
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

# Bits of nvmlClocksEventReasons (nvml.h), formerly nvmlClocksThrottleReasons.
_REASONS = {
    0x001: "idle",
    0x002: "application clocks",
    0x004: "software power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "software thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "hardware power brake",
    0x100: "display clocks",
}
# The others are how somebody set the GPU up, or that it had nothing to do between two rounds.
_SLOWED = 0x004 | 0x008 | 0x020 | 0x040 | 0x080
_UNITS = {"SM": "MHz", "memory": "MHz", "temperature": "°C", "power": "W"}
_MW_PER_W = 1e3


class GpuMonitor:
    """Samples one GPU, between rounds: asking takes milliseconds, so never inside a timed pass.

    What this GPU or its driver does not tell is left out: sampling never costs a measurement. A
    CPU has no samples.

    Attributes:
        driver: Version of the driver; empty where nobody tells it.
    """

    def __init__(self, device: torch.device) -> None:
        """Open NVML for this device."""
        self.driver = ""
        self._samples: dict[str, list[float]] = {name: [] for name in _UNITS}
        self._reasons = 0
        self._nvml: Any = None
        self._gpu: Any = None
        if device.type != "cuda":
            return
        uuid = torch.cuda.get_device_properties(device).uuid
        # The library, its driver's part or this GPU may be missing: whatever it is that fails.
        with suppress(Exception):
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
            self._gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            self.driver = str(pynvml.nvmlSystemGetDriverVersion())

    def sample(self) -> None:
        """Ask once for clocks, temperature, power, and what limits the clocks."""
        if self._gpu is None:
            return
        nvml, gpu = self._nvml, self._gpu
        questions: dict[str, Callable[[], float]] = {
            "SM": lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
            "memory": lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),
            "temperature": lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
            "power": lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / _MW_PER_W,
        }
        for name, ask in questions.items():
            with suppress(Exception):
                self._samples[name].append(float(ask()))
        for word in ("Event", "Throttle"):  # old libraries and drivers know the second only
            with suppress(Exception):
                self._reasons |= getattr(nvml, f"nvmlDeviceGetCurrentClocks{word}Reasons")(gpu)
                break

    def in_words(self) -> str:
        """Lowest, median and highest of what was sampled, and what limited the clocks."""
        parts = [
            f"{name} {min(x):.0f}/{statistics.median(x):.0f}/{max(x):.0f} {_UNITS[name]}"
            for name, x in self._samples.items()
            if x
        ]
        if not parts:
            return "not sampled"
        limits = f", limited by {' and '.join(names)}" if (names := _names(self._reasons)) else ""
        return f"{', '.join(parts)} (lowest/median/highest){limits}"

    def throttled(self) -> tuple[str, ...]:
        """What slowed the GPU down for heat or power, by name; empty where nothing did."""
        return _names(self._reasons & _SLOWED)

    def close(self) -> None:
        """Let NVML go."""
        if self._nvml is not None:
            with suppress(Exception):
                self._nvml.nvmlShutdown()
        self._nvml = self._gpu = None


def _names(reasons: int) -> tuple[str, ...]:
    known = tuple(name for bit, name in _REASONS.items() if reasons & bit)
    return known or ((f"reasons {reasons:#x}",) if reasons else ())
