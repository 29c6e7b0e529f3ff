"""What the search benchmarks read of processes."""

import os
import subprocess
import sys
import time

from benchmarks.search import processes

_PARENT = "import subprocess; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"


def test_a_process_tree_holds_the_children_and_their_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert processes.tree(parent.pid) == [parent.pid, child]
            alone, both = processes.memory([parent.pid]), processes.memory([parent.pid, child])
            assert 0 < alone["anonymous"] <= alone["resident"] < both["resident"]
        finally:
            os.kill(child, 9)


def test_cpu_seconds_grow_with_work_and_an_ended_process_has_none() -> None:
    before, until = processes.cpu([os.getpid()]), time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert processes.cpu([os.getpid()]) - before >= 0.05
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert processes.cpu([ended.pid]) == 0


def test_cpu_seconds_of_children_that_ended_are_told_when_asked_for() -> None:
    before = processes.cpu([os.getpid()], ended=True) - processes.cpu([os.getpid()])
    work = "import time\nwhile time.process_time() < 0.2: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    assert processes.cpu([os.getpid()], ended=True) - processes.cpu([os.getpid()]) - before >= 0.15


def test_what_is_started_on_some_cores_stays_on_them_and_the_caller_does_not() -> None:
    before = os.sched_getaffinity(0)
    first = min(before)
    show = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
    with processes.on([first]):
        started = subprocess.run(show, capture_output=True, text=True, check=True)
    assert started.stdout.split() == [str(first)]
    assert os.sched_getaffinity(0) == before


def test_pinning_moves_a_running_process() -> None:
    first = min(os.sched_getaffinity(0))
    with subprocess.Popen(["sleep", "60"]) as running:
        try:
            processes.pin([running.pid], [first])
            assert os.sched_getaffinity(running.pid) == {first}
        finally:
            running.kill()
