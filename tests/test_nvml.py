import sys
from types import SimpleNamespace

import pytest
import torch

from dscwb.measuring.gpu import GpuMonitor

GPU = torch.device("cuda", 0)
EVENTS, THROTTLES = (
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
)


class NotSupportedError(Exception):
    pass


def refuse(*_):
    raise NotSupportedError


def library(samples, **changes):
    """A pynvml that answers one sample after another: SM and memory MHz, °C, mW, reasons."""
    told = {"at": -1, "open": 0}

    def clock(gpu, kind):
        told["at"] += kind == 1  # the first question of a sample
        return samples[told["at"]][0 if kind == 1 else 1]

    def count(step):
        told["open"] += step

    fields = {
        "NVML_CLOCK_SM": 1,
        "NVML_CLOCK_MEM": 2,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: count(1),
        "nvmlShutdown": lambda: count(-1),
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlSystemGetDriverVersion": lambda: "550.54",
        "nvmlDeviceGetClockInfo": clock,
        "nvmlDeviceGetTemperature": lambda gpu, sensor: samples[told["at"]][2],
        "nvmlDeviceGetPowerUsage": lambda gpu: samples[told["at"]][3],
        EVENTS: lambda gpu: samples[told["at"]][4],
        "told": told,
    }
    return SimpleNamespace(**fields | changes)


COOL = (1980, 2619, 40, 300_000, 0x1)
WARM = (1755, 2619, 70, 690_000, 0x4)
HOT = (1200, 2619, 87, 650_400, 0x20 | 0x4)


@pytest.fixture(autouse=True)
def _gpu_0123(monkeypatch):
    properties = SimpleNamespace(uuid="0123")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)


def sampled(monkeypatch, samples, **changes):
    nvml = library(samples, **changes)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monitor = GpuMonitor(GPU)
    for _ in samples:
        monitor.sample()
    return monitor, nvml


def test_lowest_median_and_highest_of_every_quantity(monkeypatch):
    monitor, _ = sampled(monkeypatch, [COOL, HOT, WARM])
    assert monitor.in_words() == (
        "SM 1200/1755/1980 MHz, memory 2619/2619/2619 MHz, temperature 40/70/87 °C, "
        "power 300/650/690 W (lowest/median/highest), "
        "limited by idle and software power cap and software thermal slowdown"
    )


def test_only_heat_and_power_are_throttling(monkeypatch):
    monitor, _ = sampled(monkeypatch, [COOL, WARM, HOT])
    assert monitor.throttled() == ("software power cap", "software thermal slowdown")
    monitor, _ = sampled(monkeypatch, [COOL, (1980, 2619, 40, 1, 0x2 | 0x10 | 0x100)])
    assert monitor.throttled() == ()
    assert monitor.in_words().endswith(
        "limited by idle and application clocks and sync boost and display clocks"
    )


def test_an_old_library_has_another_name_for_the_reasons(monkeypatch):
    monitor, nvml = sampled(monkeypatch, [])
    delattr(nvml, EVENTS)
    setattr(nvml, THROTTLES, lambda gpu: 0x40)
    nvml.nvmlDeviceGetClockInfo = lambda gpu, kind: 1
    nvml.nvmlDeviceGetTemperature = nvml.nvmlDeviceGetPowerUsage = lambda *_: 1
    monitor.sample()
    assert monitor.throttled() == ("hardware thermal slowdown",)


def test_an_old_driver_refuses_the_new_name(monkeypatch):
    monitor, _ = sampled(monkeypatch, [COOL], **{EVENTS: refuse, THROTTLES: lambda gpu: 0x80})
    assert monitor.throttled() == ("hardware power brake",)


def test_what_a_gpu_does_not_tell_is_left_out(monkeypatch):
    silent = {"nvmlDeviceGetPowerUsage": refuse, "nvmlDeviceGetTemperature": refuse, EVENTS: refuse}
    monitor, _ = sampled(monkeypatch, [COOL], **silent)
    assert monitor.in_words() == (
        "SM 1980/1980/1980 MHz, memory 2619/2619/2619 MHz (lowest/median/highest)"
    )


def test_reasons_without_a_name_are_told_as_a_number(monkeypatch):
    monitor, _ = sampled(monkeypatch, [(1, 1, 1, 1, 0x4000)])
    assert monitor.in_words().endswith("limited by reasons 0x4000")


@pytest.mark.parametrize("missing", ["library", "driver", "gpu"])
def test_without_nvml_nothing_is_sampled(monkeypatch, missing):
    broken = {"driver": "nvmlInit", "gpu": "nvmlDeviceGetHandleByUUID"}
    nvml = None if missing == "library" else library([COOL], **{broken[missing]: refuse})
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monitor = GpuMonitor(GPU)
    monitor.sample()
    assert (monitor.in_words(), monitor.throttled()) == ("not sampled", ())
    assert monitor.driver == ""
    monitor.close()


def test_nvml_is_asked_for_this_gpu_and_closed(monkeypatch):
    monitor, nvml = sampled(monkeypatch, [COOL])
    assert monitor._gpu == "GPU-0123"
    assert (nvml.told["open"], monitor.driver) == (1, "550.54")
    monitor.close()
    monitor.close()
    assert nvml.told["open"] == 0
    monitor.sample()  # says nothing any more
    assert monitor.in_words().startswith("SM 1980")
