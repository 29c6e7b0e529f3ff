"""A node behind front processes: what callers see when one of them, or the node, is killed or drained."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from real_fleet import NAME, search, upsert, vectors
from test_api_process import KEYS, Pod, wait

from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet.v1 import vectorfleet_pb2_grpc
from vectorfleet_node.settings import NodeSettings, cpu_limit, usual_fronts

COUNT = pb.CountRequest(collection=NAME)


class Fronted(Pod):
    """A pod with two front processes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment["VECTORFLEET_FRONTS"] = "2"
        self.file.write_text(self.topology.model_dump_json())

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The process, once it is ready."""
        with subprocess.Popen(self.command, env=self.environment) as process:
            try:
                wait(lambda: self.get("/readyz")[0] == 200, "it is ready")
                yield process
            finally:
                process.kill()

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """A client with a connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.api}", options=options) as channel:
            yield vectorfleet_pb2_grpc.VectorFleetStub(channel)  # type: ignore[no-untyped-call]

    def metric(self, name: str) -> float:
        found = re.search(rf"^vectorfleet_node_{name} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else -1.0


def fronts_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The front processes that a node has started."""
    tasks = Path(f"/proc/{process.pid}/task")
    pids = [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
    return [pid for pid in pids if b"vectorfleet_node.front" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_callers_see_the_same_node_health_and_errors_through_front_processes(tmp_path: Path) -> None:
    pod = Fronted(tmp_path)
    with pod.running() as process, pod.client() as api:
        assert len(fronts_of(process)) == 2
        api.Upsert(upsert(KEYS), timeout=30)
        assert len(api.Search(search(vectors(1)), timeout=30).results[0].scores) == 3
        with pytest.raises(grpc.RpcError) as refused:
            api.Search(search(vectors(1), k=0), timeout=30)
        violation = error_details_pb2.BadRequest()
        assert rpc_status.from_call(refused.value).details[0].Unpack(violation)
        assert violation.field_violations[0].field == "k"
        assert 'requests_total{code="OK",method="VectorFleet/Upsert"} 1.0' in pod.get("/metrics")[1]
        with grpc.insecure_channel(f"127.0.0.1:{pod.api}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
            statuses = (told.status for told in watch)
            assert health_pb2.HealthCheckResponse.SERVING in statuses
            process.send_signal(signal.SIGTERM)
            assert health_pb2.HealthCheckResponse.NOT_SERVING in statuses
            reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
            [answer] = reflection.ServerReflectionInfo(iter(asked), timeout=30)
            assert "vectorfleet.v1.VectorFleet" in {service.name for service in answer.list_services_response.service}
            watch.cancel()
        assert process.wait(30) == 0


def test_a_killed_front_process_is_replaced_and_the_other_one_serves_meanwhile(tmp_path: Path) -> None:
    pod = Fronted(tmp_path)
    with pod.running() as process:
        first, second = fronts_of(process)
        os.kill(first, signal.SIGKILL)
        wait(lambda: pod.metric("front_ends_total") == 1, "its end is counted")
        with pod.client() as api:
            assert api.Count(COUNT, timeout=30, wait_for_ready=True).count == 0
        wait(lambda: pod.metric("fronts") == 2, "there are two again")
        assert second in fronts_of(process)
        assert first not in fronts_of(process)
        fronts = fronts_of(process)
        for pid in fronts:
            os.kill(pid, signal.SIGTERM)  # as a signal to the whole group: they wait for the node to drain them
        with pod.client() as api:
            assert api.Count(COUNT, timeout=30, wait_for_ready=True).count == 0
        assert fronts_of(process) == fronts


def test_when_the_node_is_killed_its_front_processes_end_and_the_port_is_free(tmp_path: Path) -> None:
    pod = Fronted(tmp_path)
    with pod.running() as process, pod.client() as api:
        assert api.Count(COUNT, timeout=30).count == 0
        fronts = fronts_of(process)
        process.kill()
        process.wait()
        wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in fronts), "the front processes have ended")
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", pod.api))
            other.listen()


@pytest.mark.parametrize("fronts", ["0", "2"])
def test_a_drain_under_load_answers_each_call_or_sends_it_to_another_node(fronts: str, tmp_path: Path) -> None:
    pod = Fronted(tmp_path)
    pod.environment["VECTORFLEET_FRONTS"] = fronts
    pod.environment["VECTORFLEET_DRAIN_SECONDS"] = "2"
    answered, failures = [0] * 6, []

    def load(number: int) -> None:
        with pod.client() as api:
            try:
                while True:
                    api.Count(COUNT, timeout=30)
                    answered[number] += 1
            except grpc.RpcError as error:
                failures.append((error.code(), error.details()))

    with pod.running() as process:
        threads = [threading.Thread(target=load, args=(number,)) for number in range(len(answered))]
        for thread in threads:
            thread.start()
        wait(lambda: all(count > 20 for count in answered), "all of them call")
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert process.wait(30) == 0
    assert len(failures) == len(answered)
    sent_away = (grpc.StatusCode.UNAVAILABLE, "this node is about to stop: ask another one")
    assert failures == [sent_away] * len(answered)


def test_two_nodes_with_front_processes_never_share_a_port(tmp_path: Path) -> None:
    pod = Fronted(tmp_path)
    with pod.running():
        (tmp_path / "other").mkdir()
        other = Fronted(tmp_path / "other")
        other.environment["VECTORFLEET_API_PORT"] = str(pod.api)
        refused = subprocess.run(other.command, env=other.environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0
    assert f"cannot listen on 127.0.0.1:{pod.api}" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(("cpus", "fronts"), [(0.5, 0), (3.9, 0), (4, 1), (8, 2), (16, 4), (64, 4)])
def test_front_processes_come_with_the_cpus(cpus: float, fronts: int) -> None:
    assert usual_fronts(cpus) == fronts


def test_the_limit_of_cpus_is_the_containers_or_the_machines(tmp_path: Path) -> None:
    machine = len(os.sched_getaffinity(0))
    file = tmp_path / "cpu.max"
    for text, cpus in (("50000 100000", 0.5), ("max 100000", machine), ("99999999 100000", machine), ("", machine)):
        file.write_text(text)
        assert cpu_limit(file) == cpus
    assert cpu_limit(tmp_path / "absent") == machine


def test_the_number_of_front_processes_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NodeSettings().fronts is None
    monkeypatch.setenv("VECTORFLEET_FRONTS", "3")
    assert NodeSettings().fronts == 3
