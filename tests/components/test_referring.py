"""What a scheduler knows of secrets is what the master says, noted in its own log; both take only what exists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.documents import AppSpec
from bus.events import FrameworkAdmitted, RequestRefused
from bus.nouns import FrameworkId, Refusal
from bus.secrets import SecretsNamed
from bus.services import AppRequested, JobRequested
from components.referring import fold_names, hear_names, unknown_secret
from tests.components.driver import only, types
from tests.components.marathon.play import MAIN
from tests.components.marathon.play import Play as Marathon
from tests.components.marathon.play import launches as launched_by_marathon
from tests.components.marathon.play import spec as app
from tests.components.metronome.play import Play as Metronome
from tests.components.metronome.play import spec as job

Scheduler = Marathon | Metronome
NAMES = st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True).map(tuple)
PW = {"pw": {"source": "db/pw"}}
ENV = {"PW": {"secret": "pw"}}


@given(NAMES, NAMES, NAMES, st.booleans())
def test_what_is_noted_makes_known_what_was_told(
    known: tuple[str, ...], new: tuple[str, ...], gone: tuple[str, ...], whole: bool
):
    """All of it where all was told, else the difference; and it is noted only if it is news."""
    names = dict.fromkeys(known)
    told = SecretsNamed(names=new, gone=gone, whole=whole)
    noted = [say.fact for say in hear_names(names, told)]
    for fact in noted:
        assert isinstance(fact, SecretsNamed)
        fold_names(names, fact)
    wanted = set(new) if whole else (set(known) - set(gone)) | set(new)
    assert set(names) == wanted
    assert bool(noted) == (set(known) != wanted)
    assert not list(hear_names(names, told))


def test_the_path_of_a_missing_secret_is_where_it_is_declared():
    """The first of them."""
    spec: AppSpec = app(env=ENV, secrets=PW | {"other": {"source": "x"}})
    assert unknown_secret(spec, {"db/pw": None}, "$") == "secret x does not exist - at `$.secrets.other.source`"
    assert unknown_secret(spec, {"db/pw": None, "x": None}, "$") is None


@pytest.fixture(params=[Marathon, Metronome])
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    """Each of the two."""
    made: Scheduler = request.param()
    return made


def refers(scheduler: Scheduler, *, update: bool = False) -> AppRequested | JobRequested:
    """A client asks for something that refers to the secret."""
    if isinstance(scheduler, Marathon):
        return AppRequested(app=app(env=ENV, secrets=PW), update=update)
    return JobRequested(job=job(run_env=ENV, run_secrets=PW), update=update)


def admit(scheduler: Scheduler, *names: str) -> list[str]:
    id_ = FrameworkId(scheduler.component.author.id)
    fact = FrameworkAdmitted(framework=id_, name=id_, role="*", failover_timeout_s=1.0, secrets=names)
    return types(scheduler.hear(MAIN, fact))


def test_a_secret_that_does_not_exist_is_refused_with_its_path(scheduler: Scheduler):
    """And nothing is changed."""
    events = scheduler.ask(refers(scheduler))
    refused = only(events, RequestRefused)[0]
    run = "" if isinstance(scheduler, Marathon) else "run."
    assert types(events) == ["request.refused"]
    assert refused.reason is Refusal.INVALID
    assert refused.message == f"secret db/pw does not exist - at `$.{run}secrets.pw.source`"


def test_a_secret_that_was_announced_is_taken_until_it_is_gone(scheduler: Scheduler):
    """Each time the scheduler notes it in its own log."""
    assert types(scheduler.hear(MAIN, SecretsNamed(names=("db/pw",)))) == ["secret.named"]
    assert scheduler.hear(MAIN, SecretsNamed(names=("db/pw",))) == []
    assert types(scheduler.ask(refers(scheduler)))[0] in ("deployment.started", "job.specified")
    assert types(scheduler.hear(MAIN, SecretsNamed(gone=("db/pw",)))) == ["secret.named"]
    assert types(scheduler.ask(refers(scheduler, update=True))) == ["request.refused"]
    assert scheduler.rebuilt() == scheduler.hash()


def test_being_admitted_again_tells_all_names(scheduler: Scheduler):
    """Those that came and those that went while nobody could tell."""
    scheduler.hear(MAIN, SecretsNamed(names=("old", "stays")))
    assert admit(scheduler, "db/pw", "stays") == ["task.reconciled", "secret.named"]
    assert set(scheduler.state.secrets) == {"db/pw", "stays"}
    assert admit(scheduler, "db/pw", "stays") == ["task.reconciled"]


def test_nobody_but_the_master_says_what_secrets_there_are(scheduler: Scheduler):
    """A client that announces one is refused."""
    assert types(scheduler.ask(SecretsNamed(names=("db/pw",)))) == ["request.refused"]
    assert not scheduler.state.secrets


def test_a_task_carries_names_and_no_more():
    """What its app refers to, variable by variable and file by file."""
    play = Marathon()
    play.hear(MAIN, SecretsNamed(names=("db/pw",)))
    volume = {"volumes": [{"containerPath": "conf/pw", "secret": "pw"}]}
    play.add(env={"A": "b", **ENV}, secrets=PW, container=volume)
    (task,) = launched_by_marathon(play.make())
    assert task.command.secret_env == {"PW": "db/pw"}
    assert task.command.secret_files == {"conf/pw": "db/pw"}
    assert "PW" not in task.command.env
    assert task.command.env["A"] == "b"
