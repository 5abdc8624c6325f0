"""The emulated link: bytes, order and its own accounting; beside the kernel's shaper."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest

import dscwb
from benchmarks import link as bench
from dscwb.running.emulated import EmulatedLink

FAST = 1e9  # bit/s
WITHIN_S = 60  # far more than anything here takes; it ends a test that would wait for ever


@pytest.fixture
def echo():
    """A server that sends back what it gets, until told that nothing more comes: its address."""

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(2**16):
                connection.sendall(data)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


def call(link):
    return socket.create_connection(link.address, timeout=WITHIN_S)


def read(connection, size):
    """As many bytes, or fewer where the other side said that nothing more comes."""
    found = bytearray()
    while len(found) < size and (data := connection.recv(size - len(found))):
        found += data
    return bytes(found)


def exchanged(connection, data):
    """What comes back while all of it is sent."""
    sender = threading.Thread(target=connection.sendall, args=(data,))
    sender.start()
    found = read(connection, len(data))
    sender.join()
    return found


def answer(link):
    with call(link) as near:
        return near.recv(1)


def noise(size, seed=0):
    return np.random.default_rng(seed).bytes(size)


def test_bytes_come_through_unchanged_in_order_and_are_counted(echo):
    with EmulatedLink(echo, data_rate_bps=FAST, round_trip_s=0.002) as link, call(link) as near:
        for size in (1, 1448, 100_000, 12_000_000):  # the last is more than the proxy holds
            data = noise(size, size)
            assert exchanged(near, data) == data
        counts = link.counts()
        assert (counts.up_bytes, counts.down_bytes) == (12_101_449, 12_101_449)
        assert (counts.connections, counts.accepted, counts.waiting_bytes) == (1, 1, 0)


def test_connections_do_not_mix(echo):
    def one(seed):
        with call(link) as near:
            data = noise(200_000, seed)
            found[seed] = exchanged(near, data) == data

    found = {}
    with EmulatedLink(echo, data_rate_bps=FAST) as link:
        threads = [threading.Thread(target=one, args=(seed,)) for seed in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WITHIN_S)
        assert found == dict.fromkeys(range(20), True)
        assert link.counts()[:2] == (4_000_000, 4_000_000)


def test_the_end_of_each_direction_is_handed_on_after_its_bytes(echo):
    with EmulatedLink(echo, data_rate_bps=FAST, round_trip_s=0.01) as link, call(link) as near:
        near.sendall(b"all of it")
        near.shutdown(socket.SHUT_WR)
        assert read(near, 100) == b"all of it"


def test_a_link_that_is_down_holds_bytes_until_it_is_up_again(echo):
    with EmulatedLink(echo, data_rate_bps=0) as link, call(link) as near:
        near.sendall(b"1234")
        while link.counts().waiting_bytes < 4:
            pass
        assert link.counts()[:3] == (0, 0, 4)
        link.set_rate(FAST)
        assert read(near, 4) == b"1234"


def test_the_way_back_has_a_rate_of_its_own_but_is_down_with_the_link(echo):
    slow = 8.0  # a byte a second
    with EmulatedLink(echo, data_rate_bps=FAST, downlink_bps=slow) as link, call(link) as near:
        near.sendall(bytes(5000))
        while link.counts().up_bytes < 5000:
            pass
        assert link.counts().down_bytes < 5000
    with EmulatedLink(echo, data_rate_bps=FAST, downlink_bps=FAST) as link, call(link) as near:
        assert exchanged(near, b"up") == b"up"
        link.set_rate(0)
        near.sendall(b"down")
        while link.counts().waiting_bytes < 4:
            pass
        assert link.counts()[:3] == (2, 2, 4)


def test_a_trace_is_played_until_another_rate_is_set(echo):
    down = dscwb.Trace([0, 1e6], [0.0, FAST], 2e6, [0.0, 0.0])
    up = dscwb.Trace([0], [FAST], 1)
    with EmulatedLink(echo, data_rate_bps=FAST, trace=down) as link, call(link) as near:
        near.sendall(b"held")
        while link.counts().waiting_bytes < 4:
            pass
        link.play(up)
        assert read(near, 4) == b"held"
        link.play(down)
        link.set_round_trip(0.001)
        near.sendall(b"again")
        while link.counts().waiting_bytes < 5:
            pass
        link.set_rate(FAST)
        assert read(near, 5) == b"again"


def test_a_cut_breaks_connections_in_mid_message_and_refuses_new_ones_until_restored(echo):
    with EmulatedLink(echo, data_rate_bps=8e6) as link, call(link) as near:
        near.sendall(bytes(100_000))
        assert len(read(near, 2000)) == 2000
        link.cut()
        with pytest.raises(ConnectionResetError):
            read(near, 100_000)
        assert (link.counts().connections, link.counts().waiting_bytes) == (0, 0)
        with pytest.raises(ConnectionRefusedError):
            call(link)
        link.cut()  # again changes nothing
        link.restore()
        link.set_rate(FAST)
        with call(link) as again:
            assert exchanged(again, b"back") == b"back"


def test_a_server_that_is_not_there_breaks_the_connection():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with EmulatedLink(address, data_rate_bps=FAST) as link:
        with pytest.raises(ConnectionResetError):  # while it connects or after
            answer(link)
        assert link.counts().connections == 0


def test_a_receiver_that_does_not_read_makes_the_sender_wait():
    """Neither the proxy nor the system takes more than its buffers hold."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        EmulatedLink(server.getsockname(), data_rate_bps=FAST) as link,
        call(link) as near,
    ):
        near.settimeout(1)
        with pytest.raises(TimeoutError):
            near.sendall(bytes(200 * 2**20))
        assert link.counts().up_bytes + link.counts().waiting_bytes < 50 * 2**20


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_what_no_link_has_is_refused(echo, value):
    with pytest.raises(ValueError, match="give a finite number"):
        EmulatedLink(echo, data_rate_bps=value)
    with pytest.raises(ValueError, match="round_trip_s"):
        EmulatedLink(echo, data_rate_bps=1, round_trip_s=value)
    with EmulatedLink(echo, data_rate_bps=1) as link, pytest.raises(ValueError, match="data_rate"):
        link.set_rate(value)


def test_a_target_without_address_is_told():
    with pytest.raises(RuntimeError, match="emulated link"):
        EmulatedLink(("no.such.host.invalid", 1), data_rate_bps=1)


def test_an_answer_that_nobody_waited_for_is_passed_over(echo):
    with EmulatedLink(echo, data_rate_bps=1) as link:
        link._process.stdin.write(b'{"number": 0, "command": "restore"}\n')
        assert link.counts() == (0, 0, 0, 0, 0)


def test_it_says_that_it_is_emulated_and_is_over_once_closed(echo):
    others = set(psutil.Process().children())  # of other tests: a forkserver, resource trackers
    link = EmulatedLink(echo, data_rate_bps=1)
    (child,) = set(psutil.Process().children()) - others
    assert repr(link).startswith("Emulated link: 127.0.0.1:")
    link.close()
    link.close()
    assert not child.is_running()
    assert repr(link).endswith("closed")
    with pytest.raises(RuntimeError, match="has ended"):
        link.set_rate(2)


def test_it_ends_with_its_parent_when_that_is_killed():
    program = (
        "import psutil, sys; from dscwb.running.emulated import EmulatedLink\n"
        "link = EmulatedLink(('127.0.0.1', 9), data_rate_bps=1)\n"
        "print(psutil.Process().children()[0].pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
    with contextlib.suppress(psutil.NoSuchProcess):
        child.wait(WITHIN_S)


def test_its_process_loads_nothing_heavy():
    program = "import sys, dscwb.running.proxy; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not {"torch", "numpy", "pandas"} & set(done.stdout.split())


@pytest.mark.parametrize(("rate_bps", "size"), [(20e6, 200_000), (50e6, 1_000_000)])
def test_it_takes_as_long_as_the_kernels_token_bucket(rate_bps, size):
    """The least of several: a busy machine only adds. Headers and the bucket are counted out."""
    if missing := bench.why_no_namespaces():
        pytest.skip(missing)
    least = {}
    for _ in range(6):
        with bench.Namespaces(rate_bps) as pair:
            kernel = pair.times_s(size, 5)
        proxy = bench.proxied(rate_bps, 0.0, size, 5)
        for way in (bench.UP, bench.DOWN):
            for kind, found in (("proxy", proxy), ("kernel", kernel)):
                least[kind, way] = min([*found[way], least.get((kind, way), np.inf)])
        ratios = [least["proxy", way] / least["kernel", way] for way in (bench.UP, bench.DOWN)]
        if ratios == pytest.approx([1, 1], abs=0.02):
            break
    assert ratios == pytest.approx([1, 1], abs=0.02)
    assert least["proxy", bench.UP] == pytest.approx(8 * size / rate_bps, rel=0.02)
