"""What Marathon answers about pods: query `pods`, a list of `PodRow`, by id.

Rule of this room: as in `bus.queries`, from where all of these can be imported too.
(Marathon: `docs/rest-api/public/api/v2/types/podStatus.raml`, `PodStatusConversion.scala`)
"""

from __future__ import annotations

from bus.documents import PodSpec
from bus.nouns import NOTHING, AgentId, Noun, Now, Resources, TaskId, TaskState, TaskStatus
from bus.plans import DeploymentId


class EndpointRow(Noun, frozen=True):
    """Where an endpoint of a container is served."""

    name: str
    host_port: int | None = None
    """Marathon's allocatedHostPort."""
    healthy: bool | None = None
    """None: it is not the one that is checked, or nothing is known yet."""


class ContainerRow(Noun, frozen=True):
    """A container of an instance: its task."""

    name: str
    task: TaskId
    """Marathon's containerId."""
    state: TaskState
    since: Now
    """When it got its state."""
    changed: Now
    """When anything was last heard of it."""
    message: str = ""
    endpoints: tuple[EndpointRow, ...] = ()
    """None once it has ended."""
    resources: Resources = NOTHING
    """What it holds: nothing once it has ended."""
    exit_status: int | None = None
    signal: int | None = None
    healthy: bool | None = None
    """None: nothing is known yet, or it is not checked."""
    checked: bool = False
    """Whether it has a health check: then it has the condition `healthy`, once it runs."""


class PodInstanceRow(Noun, frozen=True):
    """An instance of a pod."""

    instance: TaskId
    status: str
    """PENDING, STAGING, STABLE, DEGRADED or TERMINAL."""
    since: Now
    changed: Now
    app_version: str
    """Of the configuration it was made from: its specReference is `/v2/pods/<id>::versions/<this>`."""
    message: str = ""
    agent: AgentId | None = None
    hostname: str | None = None
    resources: Resources = NOTHING
    """What it holds: its live containers and its executor."""
    containers: tuple[ContainerRow, ...] = ()
    replaces: TaskId | None = None
    up: bool = False
    """Whether it counts in a deployment."""
    dying: bool = False


class TerminationRow(Noun, frozen=True):
    """An instance that ended: what is remembered of the latest."""

    instance: TaskId
    started_at: Now
    terminated_at: Now
    message: str = ""
    containers: tuple[ContainerRow, ...] = ()


class PodRow(Noun, frozen=True):
    """A pod and its instances."""

    pod: PodSpec
    """What it is to be; while a deployment goes on, its instances may be of another version."""
    app_version: str
    status: str
    """DEGRADED, STABLE or TERMINAL."""
    since: Now
    changed: Now
    instances: tuple[PodInstanceRow, ...] = ()
    message: str = ""
    terminations: tuple[TerminationRow, ...] = ()
    """The latest, newest last."""
    waiting: int = 0
    change_version: str | None = None
    """Of its last change; None: the configuration was changed last."""
    deployments: tuple[DeploymentId, ...] = ()
    delay_until: Now | None = None
    last_failure: TaskStatus | None = None
