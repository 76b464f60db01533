"""Threads are given back while others need the cores, taken again when they lie idle, and left alone if chosen."""

import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vae_utils.support import threads
from vae_utils.support.threads import CoreSharing, share_cores

NETWORK = nn.Linear(1, 1)


class Machine:
    """Stands for the clocks of a machine."""

    def __init__(self):
        self.clocks = [0.0, 0.0, 0.0, 0.0]

    def pass_by(self, ran=1.0, waited=0.0, idle=0.0, seconds=1.0):
        """A second or so goes by, then a network is called; the number of threads after it."""
        self.clocks = [clock + more for clock, more in zip(self.clocks, (seconds, ran, waited, idle))]
        NETWORK(torch.ones(1))
        return torch.get_num_threads()


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(threads, "_clocks", lambda: tuple(machine.clocks))
    monkeypatch.setattr(threads.time, "monotonic", lambda: machine.clocks[0])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return machine


@pytest.fixture
def sharing(machine):
    """Of eight threads, all of them in use."""
    before = torch.get_num_threads()
    sharing = CoreSharing(8)
    assert torch.get_num_threads() == 8  # what has no networks is left alone
    assert [machine.pass_by(), machine.pass_by(idle=7.0)] == [1, 8]  # a computation has begun
    yield sharing
    sharing.stop()
    torch.set_num_threads(before)


def test_alone_a_program_keeps_its_threads(sharing, machine):
    assert [machine.pass_by() for _ in range(50)] == [8] * 50


def test_it_gives_back_what_it_waited_for(sharing, machine):
    assert machine.pass_by(ran=0.5, waited=0.5) == 4
    assert machine.pass_by(ran=0.5, waited=0.5) == 2
    assert [machine.pass_by(ran=0.25, waited=0.75) for _ in range(3)] == [1, 1, 1]


def test_idle_cores_are_taken_again(sharing, machine):
    machine.pass_by(ran=0.25, waited=0.75)
    assert [machine.pass_by(idle=idle) for idle in (0.0, 0.0, 3.0, 1.0, 9.0)] == [2, 2, 5, 6, 8]


def test_each_thread_given_back_is_missed_for_longer(sharing, machine):
    """Else a program would take and give back a thread twice a second, beside one that works by fits and starts."""
    sharing.most = sharing.threads = 2
    torch.set_num_threads(2)
    looks = 0
    for _ in range(6):  # someone comes whenever both cores are taken
        assert machine.pass_by(ran=0.5, waited=0.5) == 1
        while machine.pass_by(idle=1.0) == 1:
            looks += 1
    assert looks == 0 + 1 + 3 + 7 + 15 + 31


def test_after_a_pause_a_computation_begins_with_one_thread(sharing, machine):
    assert [machine.pass_by(ran=0.01, waited=0.09, idle=7.9), machine.pass_by(idle=3.0)] == [1, 4]


def test_the_first_look_of_a_computation_comes_sooner(sharing, machine):
    soon = {"ran": threads.FIRST, "idle": 7 * threads.FIRST, "seconds": threads.FIRST}
    assert [machine.pass_by(ran=0.01), machine.pass_by(**soon)] == [1, 8]
    assert machine.pass_by(ran=0.0, waited=threads.FIRST, seconds=threads.FIRST) == 8  # later ones come when they did


def test_a_number_that_the_user_chooses_stays(sharing, machine):
    torch.set_num_threads(3)
    assert [machine.pass_by(ran=0.1, waited=0.9) for _ in range(3)] == [3, 3, 3]
    torch.set_num_threads(8)  # even one that the program would have chosen
    assert machine.pass_by(ran=0.1, waited=0.9) == 8


def test_other_python_threads_are_left_alone(sharing, machine):
    found = []
    thread = threading.Thread(target=lambda: found.append(machine.pass_by(ran=0.1, waited=0.9)))
    thread.start()
    thread.join()
    assert sharing.threads == 8 and torch.get_num_threads() == 8


@settings(max_examples=200)
@given(seconds=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 64)), max_size=40))
def test_whatever_happens_there_is_a_thread_and_no_more_than_allowed(seconds):
    sharing = CoreSharing.__new__(CoreSharing)
    sharing.most = sharing.threads = 8
    sharing.rest, sharing.next_rest = 0, 1
    before = torch.get_num_threads()
    try:
        for waited, idle in seconds:
            sharing._follow(waited, idle)
            assert 1 <= sharing.threads <= 8 and sharing.rest <= threads.LONGEST_REST
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_in_the_environment_is_the_users(name, machine, monkeypatch):
    monkeypatch.setenv(name, "4")
    assert share_cores() is None


def test_where_the_system_does_not_tell_all_stays(monkeypatch):
    def no_proc():
        raise FileNotFoundError("/proc")

    monkeypatch.setattr(threads, "_clocks", no_proc)
    assert share_cores() is None


def test_a_containers_quota_bounds_the_threads(machine, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    for quota, most in (("max 100000", 16), ("250000 100000", 3), ("200000 100000", 2)):
        monkeypatch.setattr(threads.Path, "read_text", lambda path, quota=quota: quota)
        sharing = share_cores()
        sharing.stop()
        assert sharing.most == most
    monkeypatch.setattr(threads.Path, "read_text", lambda path: "50000 100000")
    assert share_cores() is None  # one core


@pytest.mark.slow
def test_the_face_shares_cores_and_the_librarys_modules_do_not():
    program = """
        import torch
        {}
        hooks = torch.nn.modules.module._global_forward_pre_hooks
        print(len(hooks))
    """
    told = sys.platform == "linux" and torch.get_num_threads() and (os.cpu_count() or 1) > 1
    for line, expected in (
        ("from vae_utils import fit, mlp_vae", int(told)),
        ("from vae_utils.training import fit", 0),
    ):
        environment = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
        run = [sys.executable, "-c", textwrap.dedent(program).format(line)]
        said = subprocess.run(run, capture_output=True, text=True, env=environment, check=True).stdout
        assert int(said) == expected


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="needs Linux and two cores")
def test_beside_a_busy_machine_a_training_takes_one_thread():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * os.cpu_count())]
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count())
    try:
        sharing = CoreSharing(os.cpu_count())
        network, x, end = nn.Linear(784, 784), torch.rand(500, 784), time.monotonic() + 20
        while sharing.threads > 1 and time.monotonic() < end:
            network(x).sum().backward()
        sharing.stop()
        assert sharing.threads == 1
    finally:
        torch.set_num_threads(before)
        for process in busy:
            process.kill()
            process.wait()
