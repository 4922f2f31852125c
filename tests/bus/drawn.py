"""Documents drawn at random that break no rule: of the types' own strategies, with what spans fields made to fit."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from bus.documents import (
    AppSpec,
    Container,
    Dependency,
    Endpoint,
    EnvSecret,
    Fetch,
    GroupSpec,
    HealthCheck,
    HealthCommand,
    JobPlacement,
    JobSpec,
    JobVolume,
    Network,
    PodHealthCheck,
    PodSpec,
    PodVolume,
    PortDefinition,
    ReadinessCheck,
    Rollout,
    SecretSource,
    SecretVolume,
    UnreachableStrategy,
    UpgradeStrategy,
    VolumeMount,
)
from bus.documents.app import Constraint
from bus.documents.check import AppCheck, CheckCommand, ExecCheck, HttpCheck, TcpCheck
from bus.documents.pod import Exec, Placement, PodCommand, PodConstraint, PodHttpCheck, Scaling, Scheduling
from bus.nouns import AppId, JobId
from tests.bus import shapes

replace = msgspec.structs.replace
CONSTRAINTS: list[Constraint] = [
    ("hostname", "UNIQUE"),
    ("@zone", "GROUP_BY"),
    ("rack", "GROUP_BY", "3"),
    ("rack", "MAX_PER", "2"),
    ("os", "LIKE", "linux|bsd.*"),
    ("os", "UNLIKE", "[a-z]+"),
    ("rack", "CLUSTER", "a"),
    ("rack", "IS", "1.000"),
]
FETCHES = st.lists(
    st.builds(
        Fetch,
        uri=st.sampled_from(["http://h/a.tgz?x=1", "https://h:8443/b", "file:///srv/c.zip"]),
        extract=st.booleans(),
        executable=st.booleans(),
        cache=st.booleans(),
        checksum=st.none() | st.just("sha256:" + "0" * 64),
    ),
    max_size=2,
    unique_by=lambda each: each.uri,
).map(tuple)
SCHEDULER_RUN = st.builds(
    HealthCheck,
    protocol=st.sampled_from(["HTTP", "HTTPS"]),
    path=st.none() | st.just("/health"),
    port_index=st.just(0),
    grace_period_seconds=st.integers(0, 600),
)
EXECUTOR_RUN = st.builds(HealthCheck, protocol=st.just("MESOS_TCP"), port=st.integers(1, 65535)) | st.builds(
    HealthCheck, protocol=st.just("COMMAND"), command=st.just(HealthCommand(value="true"))
)
CHECKS = st.lists(SCHEDULER_RUN, max_size=2).map(tuple) | EXECUTOR_RUN.map(lambda check: (check,))
UNREACHABLE = st.just("disabled") | st.tuples(st.integers(0, 9), st.integers(0, 9)).map(
    lambda both: UnreachableStrategy(inactive_after_seconds=min(both), expunge_after_seconds=max(both))
)
ROLLOUTS = st.sampled_from(
    [
        Rollout(),
        Rollout(progress_deadline_seconds=600, auto_rollback=True),
        Rollout(max_launch_attempts=3, canaries=1),
    ]
)
UPGRADES = st.builds(
    UpgradeStrategy,
    minimum_health_capacity=st.sampled_from([0.0, 0.5, 1.0]),
    maximum_over_capacity=st.sampled_from([0.0, 0.2, 1.0]),
)


def declared(spec: Any) -> dict[str, Any]:
    """The secrets of a document and their uses, so that each use is declared and each file is one of its own."""
    env = {name: each if isinstance(each, str) else EnvSecret(secret="k") for name, each in spec.env.items()}
    volumes = tuple(SecretVolume(container_path=f"s/{n}", secret="k") for n in range(len(spec.secret_volumes)))
    used = bool(volumes) or any(isinstance(each, EnvSecret) for each in env.values())
    return {"env": env, "volumes": volumes, "secrets": {"k": SecretSource(source="db/password")} if used else {}}


def whole_app(app: AppSpec, args: tuple[str, ...] | None, fields: dict[str, Any]) -> AppSpec:
    """An app that breaks no rule."""
    given = declared(app)
    container = None if app.container is None else Container(volumes=given.pop("volumes"))
    given.pop("volumes", None)
    return replace(
        app,
        cmd=None if args else "x",
        args=args,
        ports=None,
        container=container,
        instances=max(2, app.instances),
        networks=(Network(),) if app.networks else (),
        accepted_resource_roles=("*",) if app.accepted_resource_roles else (),
        **given,
        **fields,
    )


READINESS = ReadinessCheck(port_name="web", interval_seconds=9, timeout_seconds=8)
LOOKS = [
    None,
    AppCheck(http=HttpCheck(path="/x")),
    AppCheck(tcp=TcpCheck(), interval_seconds=0),
    AppCheck(exec=ExecCheck(command=CheckCommand(argv=("a",)))),
]
APPS = st.builds(
    whole_app,
    shapes.of(AppSpec),
    st.none() | st.just(("a", "b")),
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(["/a", "/a/b-c.d", "/0"]),
            "port_definitions": st.sampled_from(
                [(PortDefinition(name="web"),), (PortDefinition(name="web", port=80), PortDefinition(protocol="udp"))]
            ),
            "constraints": st.lists(st.sampled_from(CONSTRAINTS), max_size=3).map(tuple),
            "fetch": FETCHES,
            "health_checks": CHECKS,
            "readiness_checks": st.sampled_from([(), (READINESS,)]),
            "check": st.sampled_from(LOOKS),
            "unreachable_strategy": UNREACHABLE,
            "upgrade_strategy": UPGRADES,
            "rollout": ROLLOUTS,
            "dependencies": st.sampled_from([(), ("/db",), ("/db", "/x/y")]),
        }
    ),
)


def whole_job(job: JobSpec, id_: str, uris: Any) -> JobSpec:
    """A job that breaks no rule."""
    possible = {"docker": None, "ucr": None, "gpus": 0, "networks": (), "artifacts": uris, "placement": JobPlacement()}
    fitting = declared(job.run)
    volumes = tuple(
        JobVolume(container_path=volume.container_path, secret=volume.secret) for volume in fitting.pop("volumes")
    )
    run = replace(job.run, cmd="x", args=None, volumes=volumes, **possible, **fitting)
    times = {} if job.dependencies else {schedule.id: schedule for schedule in job.schedules}
    schedules = tuple(replace(schedule, catch_up="latest") for schedule in times.values())
    parents = tuple(Dependency(id=JobId(f"p-{n}")) for n in range(len(job.dependencies)))
    return replace(job, id=id_, run=run, schedules=schedules, dependencies=parents)


JOBS = st.builds(whole_job, shapes.of(JobSpec), st.sampled_from(["a", "a.b-c", "0"]), FETCHES)


def whole_pod(pod: PodSpec, id_: str, constraints: list[Constraint], rollout: Rollout, uris: Any) -> PodSpec:
    """A pod that breaks no rule: its containers mount its one volume, and use one secret."""
    containers = tuple(
        replace(
            container,
            name=f"c{index}",
            exec=Exec(command=PodCommand(shell="x") if index % 2 else PodCommand(argv=("a", "b"))),
            endpoints=(Endpoint(name=f"e{index}", host_port=index), Endpoint(name=f"f{index}", host_port=0)),
            health_check=PodHealthCheck(http=PodHttpCheck(endpoint=f"e{index}")),
            volume_mounts=(VolumeMount(name="data", mount_path="d"), VolumeMount(name="key", mount_path="k")),
            artifacts=uris,
            environment={"PW": EnvSecret(secret="k"), "A": "b"},
        )
        for index, container in enumerate(pod.containers)
    )
    rules = tuple(PodConstraint(field_name=f, operator=o, value=v[0] if v else None) for f, o, *v in constraints)
    return replace(
        pod,
        id=id_,
        version=None,
        containers=containers,
        volumes=(PodVolume(name="data"), PodVolume(name="key", secret="k")),
        environment={},
        networks=(Network(),) if pod.networks else (),
        scaling=Scaling(instances=2),
        scheduling=Scheduling(placement=Placement(constraints=rules), rollout=rollout),
        secrets={"k": SecretSource(source="db/password")},
    )


PODS = st.builds(
    whole_pod,
    shapes.of(PodSpec),
    st.sampled_from(["/a", "/a/b-c.d"]),
    st.lists(st.sampled_from(CONSTRAINTS), max_size=2),
    ROLLOUTS,
    FETCHES,
)


def whole_group(apps: list[AppSpec], nested: bool) -> GroupSpec:
    """A group of some apps, one depending on the one before it."""
    named = [replace(app, id=AppId(f"/g/a{index}"), dependencies=()) for index, app in enumerate(apps)]
    chain = tuple(
        replace(app, dependencies=(named[index - 1].id,)) if index else app for index, app in enumerate(named)
    )
    inner = GroupSpec(id=AppId("/g/h"), apps=(), groups=(), dependencies=("/g/a0", "/elsewhere"))
    return GroupSpec(id=AppId("/g"), apps=chain, groups=(inner,) if nested else None)


GROUPS = st.builds(whole_group, st.lists(APPS, max_size=3), st.booleans())
