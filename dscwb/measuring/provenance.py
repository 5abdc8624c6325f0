"""Where measured times come from: this machine, its software and its settings in words.

No host names, users or paths: a profile is made to be handed on.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import torch

from dscwb.capturing.captured import CapturedModel
from dscwb.capturing.precision import in_words
from dscwb.profiles.records import Provenance

LIBRARIES = ("dscwb", "torch", "timm", "numpy")
# A board names itself here; its processor's name says less.
_BOARD = Path("/proc/device-tree/model")
_PROCESSOR = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def describe(
    captured: CapturedModel,
    protocol: str,
    *,
    compiler: str = "",
    part: str = "",
    notes: Sequence[str] = (),
    gap_s: float = 0.0,
    driver: str = "",
) -> Provenance:
    """Provenance of a measurement that begins now, under the present settings of torch.

    Device and note say by themselves what changes the times: `part` of the device, a `compiler`,
    the memory format, TF32; `notes` add to them. The clocks of a GPU are left empty: they are known
    only after it was measured.
    """
    device, on_gpu = captured.device, captured.device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else processor()
    channels_last = any(
        x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        for x in captured.example_inputs
    )
    told = (
        "channels last" if channels_last else "",
        in_words(captured.dtype) if on_gpu else "",
        f"torch.compile ({compiler}), halves run apart" if compiler else "",
        *notes,
    )
    return Provenance(
        origin="measured",
        device=", ".join(filter(None, (name, part, "compiled" if compiler else ""))),
        threads=None if on_gpu else torch.get_num_threads(),
        clocks="" if on_gpu else _clocks(),
        dtype=captured.dtype,
        versions=_versions(on_gpu, driver),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol=protocol,
        note=", ".join(filter(None, told)),
        weights_sha256=captured.weights_sha256(),
        gap_s=gap_s,
    )


def processor() -> str:
    """Name of the board or, where none is given, of the processor."""
    for path, pattern in ((_BOARD, r"([^\0\n]+)"), (_PROCESSOR, r"model name\s*:\s*(.+)")):
        if found := re.search(pattern, _text(path)):
            return found[1].strip()
    return platform.processor() or platform.machine()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _clocks() -> str:
    """Clock rate as the system reports it (kHz, MHz), its governor, and the number of cores."""
    governor, most = (_text(_GOVERNOR / f"scaling_{x}").strip() for x in ("governor", "max_freq"))
    now = re.search(r"cpu MHz\s*:\s*([\d.]+)", _text(_PROCESSOR))
    reported = f"{float(now[1]) / 1e3:.2f} GHz as reported" if now else ""
    clock = f"up to {int(most) / 1e6:.2f} GHz" if most else reported
    words = (f"{os.cpu_count()} logical cores", clock, governor and f"governor {governor}")
    return ", ".join(filter(None, words))


def _versions(on_gpu: bool, driver: str) -> tuple[tuple[str, str], ...]:
    """Of libraries and system; of CUDA that torch was built for, cuDNN and a driver if known."""
    kernel = ".".join(re.findall(r"\d+", platform.release())[:2])
    found = {name: import_module(name).__version__ for name in LIBRARIES}
    found["python"] = platform.python_version()
    found["system"] = f"{platform.system()} {kernel} {platform.machine()}"
    if on_gpu:
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        found |= {"cuda": torch.version.cuda, "cudnn": cudnn}
        found |= {"driver": driver} if driver else {}
    return tuple((name, str(version)) for name, version in found.items())
