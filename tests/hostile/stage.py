"""The place of the attacks: a real datacenter with a service on it, and its keys as a thief finds them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bus.authority import Authority
from bus.credentials import Credentials, read_credentials
from bus.keyring import Wanted, issued
from bus.permits import Role
from tests.e2e.cluster import Cluster, alive, datacenter
from tests.hostile.wire import Wire
from tests.hostile.witness import Stored, Witness, laundered, mark
from tests.identities import identity_of

RUN = {"cmd": "true", "cpus": 0.1, "mem": 32, "disk": 0}
HOLD = "while :; do sleep 1; done"
TALLY: Counter[str] = Counter()
"""Attacks that were tried, by identity."""
MADE = {
    "viewer": (Role.VIEWER, "u-thief-viewer"),
    "operator": (Role.OPERATOR, "u-thief-operator"),
    "admin": (Role.ADMIN, "u-thief-admin"),
    "auditor": (Role.AUDITOR, "u-thief-auditor"),
    "gateway": (Role.GATEWAY, "g-thief"),
    "joiner": (Role.JOINER, "t-thief"),
}
STOLEN = {"agent": "a1", "executor": "a1-cmd", "framework": "metronome"}
IDENTITIES = (*STOLEN, *MADE)


@dataclass
class Stage:
    """One datacenter under attack."""

    cluster: Cluster
    witness: Witness
    pids: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.cluster.data

    def credentials(self, identity: str) -> Credentials:
        """Of a thief: a file that it found, or a new key under a role."""
        if identity in STOLEN:
            return read_credentials(self.data / "keys" / f"{STOLEN[identity]}.json")
        role, name = MADE[identity]
        return identity_of(self.data, role, name)

    def foreigner(self, role: Role, name: str) -> Credentials:
        """Somebody of another cluster of the same name."""
        here = read_credentials(self.data / "credentials.json")
        return issued(Authority.found("dc"), Wanted("", role, name), here)

    def names(self) -> list[str]:
        agents = [f"a{number}" for number in range(1, self.cluster.agents + 1)]
        return ["master", "marathon", "metronome", *agents, *(f"{agent}.executor" for agent in agents)]

    def remember(self) -> None:
        """Who runs now must run on."""
        self.pids = {name: self.cluster.component_pid(name) for name in self.names()}
        self.tasks = {task: self.cluster.pid_of(task) for task in self.cluster.running("/hold")}

    def check_alive(self) -> None:
        """Every component is the process it was, and so is every task of the service."""
        assert {name: self.cluster.component_pid(name) for name in self.pids} == self.pids
        assert all(alive(pid) for pid in (*self.pids.values(), *self.tasks.values()))

    def check_works(self) -> None:
        """The datacenter does what it is for: the service is there, a job runs."""
        assert set(self.cluster.running("/hold")) == set(self.tasks)
        self.cluster.run("job", "run", "count")

    def settle(self) -> None:
        """The server has taken what was said before, and everybody has answered what was asked."""
        with Wire(identity_of(self.data, Role.OPERATOR, "u-last")) as last:
            answer = last.ask("dc.client.u-last.app.requested.marathon", mark("u-last"), within_s=20)
            assert answer is not None, "the stream takes nothing"
        with Wire(self.credentials("viewer")) as viewer:
            for owner in ("master.main", "framework.marathon", "framework.metronome", "agent.a1"):
                answer = viewer.ask(f"ask.dc.{owner}.summary")
                assert answer is not None, f"{owner} does not answer"
                assert answer.status == "", f"{owner} is not there"

    @contextmanager
    def attacked(self, forgers: Collection[str] = ()) -> Iterator[list[Stored]]:
        """Around attacks: afterwards the stream is whole, no message on it is another's, and everybody lives.

        Yields a list that holds all new messages afterwards. On the logs of `forgers` anything may be.
        """
        before, config = self.witness.read(), self.witness.state()["config"]
        new: list[Stored] = []
        yield new
        self.settle()
        new += self.witness.read()[len(before) :]
        found = self.witness.state()
        state = found["state"]
        assert (state["first_seq"], state["messages"]) == (1, state["last_seq"]), "the stream is not whole"
        assert found["config"] == config, "the stream was changed"
        wrong = laundered(before, new, forgers)
        assert wrong == [], "\n".join(wrong)
        self.check_alive()


@contextmanager
def stage(data: Path, *, agents: int = 1) -> Iterator[Stage]:
    """A datacenter with a service on it that nothing may disturb."""
    with datacenter(data, agents=agents) as cluster:
        cluster.add_app(id="/hold", cmd=HOLD, cpus=0.1, mem=32, instances=2)
        cluster.run("job", "add", "-", stdin=json.dumps({"id": "count", "run": RUN}))
        found = Stage(cluster, Witness(data))
        found.remember()
        yield found
