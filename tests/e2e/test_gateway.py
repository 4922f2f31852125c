"""The gateway on real processes: the unmodified PyPI client with real tasks, and a stream that outlives its gateway."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import httpx
import pytest
from marathon import MarathonClient

from tests.components.gateway.pypi import SMALL, calls, every_call
from tests.e2e.cluster import datacenter, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


def test_existing_clients_work_and_a_stream_goes_on_behind_a_gateway_that_was_killed(tmp_path: Path) -> None:
    """Every call there is; SIGKILL of the gateway in the middle; what was missed is told to who comes back."""
    with datacenter(tmp_path / "data") as cluster:
        name, _, secret = (cluster.data / "gateway.users").read_text().strip().partition(":")
        url = cluster.look()["gateways"][0]["message"]
        called = every_call(MarathonClient(url, username=name, password=secret), "exec sleep 1000", abdicate=True)
        assert called == calls()

        http = httpx.Client(base_url=url, auth=(name, secret), timeout=30)
        heard: list[int] = []

        def listen(after: int) -> None:
            headers = {"accept": "text/event-stream", "last-event-id": str(after)}
            try:
                with http.stream("GET", "/v2/events", headers=headers, timeout=60) as stream:
                    heard.extend(int(line[4:]) for line in stream.iter_lines() if line.startswith("id: "))
            except httpx.TransportError:
                return  # it was killed

        listening = threading.Thread(target=listen, args=(0,))
        listening.start()
        wait_for("something is heard", lambda: len(heard) > 10)
        pid = cluster.component_pid("gateway")
        os.kill(pid, signal.SIGKILL)
        listening.join(30)
        before = list(heard)
        cluster.add_app(id="/meanwhile", cmd="exec sleep 1000", **SMALL)
        wait_for(
            "another gateway is there", lambda: cluster.component_pid("gateway") != pid and cluster.look()["gateways"]
        )
        again = threading.Thread(target=listen, args=(before[-1],), daemon=True)
        again.start()
        wanted = ("--noun", "app", "--participle", "updated", "--from", "1", "--id", "marathon")
        said = {int(event["position"]) for event in cluster.events(*wanted)}
        wait_for("all of it is heard", lambda: heard[-1] >= max(said))
        assert heard == sorted(set(heard)), "nothing twice, in order"
        assert said <= set(heard), "and nothing is missing"

        job = {"id": "count", "run": {"cmd": "exit 0", "disk": 0, **SMALL}}
        assert http.post("/v1/jobs", json=job).status_code == 201
        run = http.post("/v1/jobs/count/runs").json()["id"]
        wait_for("it succeeds", lambda: http.get(f"/v1/jobs/count/runs/{run}").json()["status"] == "SUCCESS")
