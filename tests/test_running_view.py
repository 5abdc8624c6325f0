"""A split that runs, watched: its slider slows the link down, and it leaves no process behind."""

import os
import signal
import threading

import nbformat
import psutil
import pytest

import dscwb
from tests.lab import ANSWER_MS, notebook_page

MODEL, SIDE = "resnet10t", 32
RIG = {
    "link": dscwb.Link(round_trip_s=0.002),
    "input_encoding": "uint8",
    "feature_encoding": "int8",
}
SLOW_BPS, FAST_BPS = 1e5, 1e9  # the ends of the slider
SETUP = f"""
import dscwb
rig = dscwb.Rig.measured("{MODEL}", {SIDE}, edge="device.parquet", server="server.parquet",
    link=dscwb.Link(round_trip_s=0.002), input_encoding="uint8", feature_encoding="int8")
live = dscwb.LiveSplit(rig, data_rate_bps={FAST_BPS}, every_s=0.02, deadline_s=5)
live
"""
RESTART = """async () => {
  const cookie = Object.fromEntries(document.cookie.split('; ').map((one) => one.split('=')));
  const [{ kernel }] = await (await fetch('/api/sessions')).json();
  const answer = await fetch(`/api/kernels/${kernel.id}/restart`,
    { method: 'POST', headers: { 'X-XSRFToken': cookie._xsrf ?? '' } });
  return answer.status;
}"""


@pytest.fixture(scope="module")
def profiles():
    """A server, and a device that would take twenty times as long."""
    captured = dscwb.capture(MODEL, SIDE, check=False)
    server = dscwb.profile(captured, [1], threads=1, passes=10, budget_s=0)
    return {"edge": dscwb.scale_profile(server, 1 / 20), "server": server}


def others():
    """The processes that this one has started, and theirs."""
    return psutil.Process().children(recursive=True)


def test_the_slider_slows_the_link_and_an_interrupt_ends_all(profiles):
    before = others()
    rig = dscwb.Rig.measured(MODEL, SIDE, **profiles, **RIG)
    live = dscwb.LiveSplit(rig, data_rate_bps=FAST_BPS, every_s=0.01, deadline_s=5)
    slider = live.children[0].children[0]
    live.wait(3)
    assert {step.answer.split for step in live.steps} == {"full offloading"}
    slider.value = SLOW_BPS
    for _ in range(100):
        live.wait(1)
        if live.steps[-1].answer.split == "no offloading":
            break
    last = live.steps[-1]
    assert (last.answer.split, last.answer.where) == ("no offloading", "device")
    assert last.data_rate_bps == SLOW_BPS
    slowed = [
        step.answer
        for step in live.steps
        if step.data_rate_bps == SLOW_BPS and step.answer.where == "server"
    ]
    assert slowed
    assert all(answer.link_s >= answer.sent_bytes * 8 / SLOW_BPS for answer in slowed)
    assert len(others()) > len(before)

    def interrupt() -> None:
        live.wait(1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        live.wait(10_000)
    thread.join()
    assert live.failed is None
    assert slider.disabled
    assert others() == before
    assert len(live.figure().data) == 6


def test_a_rig_is_not_measured_again(profiles):
    rig = dscwb.Rig.measured(MODEL, SIDE, **profiles, **RIG)
    with pytest.raises(TypeError, match="leave out budget_s"):
        dscwb.LiveSplit(rig, budget_s=1)


@pytest.mark.browser
def test_in_jupyterlab_moving_the_rate_changes_the_split_and_a_restart_ends_all(
    lab, chromium, profiles
):
    url, folder = lab
    for name, profile in zip(("device", "server"), profiles.values(), strict=True):
        dscwb.save_profile(profile, folder / f"{name}.parquet")
    cells = [nbformat.v4.new_code_cell(SETUP)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "watched.ipynb")
    with notebook_page(chromium, url, "watched.ipynb", height=800) as (page, errors):
        words = page.locator(".widget-html-content")

        def shows(split, rate):
            words.filter(has_text=f"Link {rate}").get_by_text(split, exact=True).wait_for()
            page.locator(".widget-label", has_text=rate).wait_for()
            script = "() => document.querySelector('.js-plotly-plot').data.map((x) => x.y.at(-1))"
            return page.evaluate(script)

        server, device, *_, link, _ = shows("full offloading", "1 Gbit/s")
        assert (device, link) == (None, FAST_BPS / 1e6)
        assert server > 0
        page.locator(".noUi-handle").press("Home")
        server, device, *_, link, _ = shows("no offloading", "100 kbit/s")
        assert (server, link) == (None, SLOW_BPS / 1e6)
        assert device > 0
        page.get_by_role("button", name="Link down").click()
        words.filter(has_text="Link down").wait_for()
        started = [one for one in others() if {"serve", "dscwb.running.proxy"} & {*one.cmdline()}]
        assert len(started) == 2
        assert page.evaluate(RESTART) == 200
        assert not psutil.wait_procs(started, timeout=ANSWER_MS / 1e3)[1]
        assert errors == []
