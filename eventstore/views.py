"""The history as tables: one row an event, a task, an offer, an app, a run, an agent, as of the newest event.

Each view says what a list command would say, computed from the events that say it; `VIEWS` documents its columns.
Rule of this room: a view reads the log of the one who decides: the master on tasks, offers and agents, a scheduler
on its apps and runs. What it costs is bounded by what it is asked for: one thing is found by an index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class View(NamedTuple):
    """A table to ask: what a row is, each column with what it means, and the statement behind it."""

    row: str
    columns: Mapping[str, str]
    sql: str


def _time(at: str) -> str:
    """Microseconds as text in UTC, to the millisecond."""
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {at} / 1000000.0, 'unixepoch')"


def _newest(noun: str, id_: str, condition: str) -> str:
    """The position of the newest event that mentions a thing and meets a condition on `told`."""
    return (
        f"(SELECT seen.position FROM mention AS seen CROSS JOIN event AS told ON told.position = seen.position "
        f"WHERE seen.noun = '{noun}' AND seen.id = {id_} AND told.foreign_because IS NULL AND {condition} "
        "ORDER BY seen.position DESC LIMIT 1)"
    )


def _says(kind: str, type_: str) -> str:
    """That an event, `told`, is of a type, by an author of a kind; the answer said again is not what was said last."""
    noun, _, verb = type_.partition(".")
    says = f"told.kind = '{kind}' AND told.noun = '{noun}' AND told.participle = '{verb}'"
    return f"{says} AND {_FIRST_ANSWER}" if kind == "framework" else says


_FIRST_ANSWER = (
    "NOT EXISTS (SELECT 1 FROM mention AS asked CROSS JOIN event AS given ON given.position = asked.position "
    "WHERE asked.noun = 'request' AND asked.id = field(told.body, 'request') AND asked.position < told.position "
    "AND given.kind = told.kind AND given.id = told.id AND given.foreign_because IS NULL)"
)
"""The same request gets the same answer again, which is folded once. (components/component.py apply)"""


def _things(noun: str, kind: str, type_: str) -> str:
    """Every thing that an event of a type is about, with the positions of its newest and its first such event."""
    return _things_told(noun, _says(kind, type_))


def _things_told(noun: str, condition: str) -> str:
    """Every thing that `told` is about where it meets a condition."""
    return (
        "(SELECT seen.id AS id, max(seen.position) AS position, min(seen.position) AS began "
        "FROM mention AS seen CROSS JOIN event AS told ON told.position = seen.position "
        f"WHERE seen.noun = '{noun}' AND told.foreign_because IS NULL AND {condition} "
        "GROUP BY seen.id)"
    )


_ANSWERS = "('REASON_TASK_INVALID', 'REASON_TASK_GROUP_INVALID', 'REASON_INVALID_OFFERS', 'REASON_RECONCILIATION')"
"""Why the master says a status that is no change of a task that runs. (components/master/fold.py)"""
_CHANGED = (
    f"{_says('master', 'task.updated')} AND NOT (field(told.body, 'data.status.source') = 'SOURCE_MASTER' "
    f"AND coalesce(field(told.body, 'data.status.reason'), '') IN {_ANSWERS})"
)

_EVENTS = View(
    "everything that was said, one row an event; messages that are nobody's are among them, with `foreign_because`",
    {
        "position": "its place in the stream",
        "at": "when, in microseconds since 1970 (UTC), by its author's clock",
        "time": "the same as text",
        "author": "who said it, e.g. master.main",
        "kind": "what the author is: master, agent, framework, executor, client",
        "type": "what was said, e.g. task.launched",
        "addressee": "to whom; _ is nobody in particular",
        "n": "its number in its author's log",
        "epoch": "its author's term",
        "heard": "the position of the last event the author had heard",
        "cause": "the position of the event that led to it",
        "actor": "the person or token behind it",
        "trace": "shared by all steps of one command",
        "request": "the request it is, or answers",
        "data": "its fields, as JSON; field(data, 'a.b') or SQLite's json functions take it apart",
        "bytes": "its size",
        "foreign_because": "why it is nobody's next event; NULL for all others",
        "subject": "where it was published",
        "body": "the bytes; field(body, 'data.status.state') reads one value of it",
    },
    f"SELECT position, at, {_time('at')} AS time, kind || '.' || id AS author, kind, "
    "noun || '.' || participle AS type, addressee, n, field(body, 'epoch') AS epoch, field(body, 'heard') AS heard, "
    "field(body, 'cause') AS cause, field(body, 'actor') AS actor, field(body, 'trace') AS trace, "
    "field(body, 'request') AS request, field(body, 'data') AS data, length(body) AS bytes, foreign_because, "
    "subject, body FROM event",
)

_TASKS = View(
    "every task that was ever launched, with its newest state as the master has it",
    {
        "task": "its id",
        "state": "e.g. TASK_RUNNING",
        "reason": "why it has that state",
        "message": "the same in words",
        "source": "who first said so",
        "exit_status": "of a task that ended by itself",
        "signal": "that ended it",
        "agent": "where",
        "hostname": "of the agent",
        "framework": "whose",
        "role": "of the framework",
        "name": "as its framework calls it",
        "app": "the app it is an instance of",
        "job": "the job it works for",
        "run": "the run it works for",
        "cpu_milli": "thousandths of a CPU",
        "mem_mb": "memory",
        "launched_at": "when, microseconds",
        "launched": "the same as text",
        "since": "when it got its state, microseconds",
        "position": "of its task.launched",
        "updated_position": "of the event that told its state",
    },
    "SELECT thing.id AS task, coalesce(field(news.body, 'data.status.state'), 'TASK_STAGING') AS state, "
    "field(news.body, 'data.status.reason') AS reason, field(news.body, 'data.status.message') AS message, "
    "coalesce(field(news.body, 'data.status.source'), 'SOURCE_MASTER') AS source, "
    "field(news.body, 'data.status.exit_status') AS exit_status, field(news.body, 'data.status.signal') AS signal, "
    + ", ".join(
        f"field(launched.body, 'data.task.{path}') AS {name}"
        for name, path in {
            "agent": "agent",
            "hostname": "hostname",
            "framework": "framework",
        }.items()
    )
    + ", field(launched.body, 'data.role') AS role, "
    + ", ".join(f"field(launched.body, 'data.task.{name}') AS {name}" for name in ("name", "app", "job", "run"))
    + ", field(launched.body, 'data.task.resources.cpu_milli') AS cpu_milli, "
    "field(launched.body, 'data.task.resources.mem_mb') AS mem_mb, launched.at AS launched_at, "
    f"{_time('launched.at')} AS launched, coalesce(news.at, launched.at) AS since, thing.position AS position, "
    f"news.position AS updated_position FROM {_things('task', 'master', 'task.launched')} AS thing "
    "CROSS JOIN event AS launched ON launched.position = thing.position "
    "LEFT JOIN event AS news ON news.position = "
    + _newest("task", "thing.id", f"seen.position > thing.position AND {_CHANGED}"),
)

_NAMES = "instr(field(told.body, 'data.{path}'), '\"' || thing.id || '\"') > 0"
"""Whether a list of ids in an event names the thing."""
_ACCEPTED = f"({_says('master', 'task.launched')} AND {_NAMES.format(path='offers')})"
_CLOSED = (
    f"(({_says('master', 'offer.rescinded')}) OR ({_says('master', 'offer.recovered')}) "
    f"OR ({_says('master', 'task.launched')} AND {_NAMES.format(path='recovered')}))"
)

_OFFERS = View(
    "every offer that was ever made, with what became of it",
    {
        "offer": "its id",
        "state": "OUTSTANDING, ACCEPTED, DECLINED or RESCINDED",
        "reason": "why it was rescinded",
        "framework": "to whom",
        "role": "of the framework",
        "agent": "of which agent",
        "hostname": "of the agent",
        "cpu_milli": "thousandths of a CPU",
        "mem_mb": "memory",
        "disk_mb": "disk",
        "ports": "as JSON, pairs of first and last",
        "made_at": "when, microseconds",
        "made": "the same as text",
        "expires_at": "when it would time out, microseconds",
        "closed_at": "when it was closed, microseconds",
        "position": "of its offer.made",
        "closed_position": "of the event that closed it",
    },
    "SELECT thing.id AS offer, CASE WHEN closed.participle = 'rescinded' THEN 'RESCINDED' "
    f"WHEN {_newest('offer', 'thing.id', _ACCEPTED)} IS NOT NULL THEN 'ACCEPTED' "
    "WHEN closed.position IS NOT NULL THEN 'DECLINED' ELSE 'OUTSTANDING' END AS state, "
    "CASE WHEN closed.participle = 'rescinded' THEN field(closed.body, 'data.reason') END AS reason, "
    "field(made.body, 'data.framework') AS framework, field(made.body, 'data.role') AS role, "
    + ", ".join(
        f"field(made.body, 'data.offers[offer=' || thing.id || '].{path}') AS {name}"
        for name, path in {
            "agent": "agent",
            "hostname": "hostname",
            "cpu_milli": "resources.cpu_milli",
            "mem_mb": "resources.mem_mb",
            "disk_mb": "resources.disk_mb",
            "ports": "resources.ports",
        }.items()
    )
    + f", made.at AS made_at, {_time('made.at')} AS made, field(made.body, 'data.expires_at') AS expires_at, "
    "closed.at AS closed_at, thing.position AS position, closed.position AS closed_position "
    f"FROM {_things('offer', 'master', 'offer.made')} AS thing "
    "CROSS JOIN event AS made ON made.position = thing.position "
    f"LEFT JOIN event AS closed ON closed.position = {_newest('offer', 'thing.id', _CLOSED)}",
)

_STARTED = _says("framework", "deployment.started")
_SPECIFIED = f"(({_says('framework', 'app.specified')}) OR ({_STARTED} AND field(told.body, 'data.app.id') = seen.id))"
_REMOVED = f"(({_says('framework', 'app.removed')}) OR ({_STARTED} AND field(told.body, 'data.removed') = seen.id))"
"""What a deployment changes is said by itself if it is one thing. (bus/deployments.py)"""

_APPS = View(
    "every app that was ever specified, as its scheduler has it",
    {
        "app": "its id",
        "state": "WANTED or REMOVED",
        "framework": "its scheduler",
        "instances": "how many are wanted; 0 once it is removed",
        "version": "of its specification",
        "changed": "what the last request was: created, updated, scaled, restarted or removed",
        "cmd": "what it runs",
        "cpus": "of each instance",
        "mem": "MB of each instance",
        "created_at": "when it was first specified, microseconds",
        "created": "the same as text",
        "changed_at": "when it was last changed, microseconds",
        "spec": "all of its specification, as JSON",
        "position": "of the event that specified it last: app.specified, or deployment.started with it",
    },
    "SELECT thing.id AS app, CASE WHEN gone.position IS NULL THEN 'WANTED' ELSE 'REMOVED' END AS state, "
    "told.id AS framework, "
    "CASE WHEN gone.position IS NULL THEN field(told.body, 'data.app.instances') ELSE 0 END AS instances, "
    "field(told.body, 'data.app_version') AS version, "
    "CASE WHEN gone.position IS NULL THEN field(told.body, 'data.changed') ELSE 'removed' END AS changed, "
    "field(told.body, 'data.app.cmd') AS cmd, field(told.body, 'data.app.cpus') AS cpus, "
    "field(told.body, 'data.app.mem') AS mem, first.at AS created_at, "
    f"{_time('first.at')} AS created, coalesce(gone.at, told.at) AS changed_at, "
    "field(told.body, 'data.app') AS spec, thing.position AS position "
    f"FROM {_things_told('app', _SPECIFIED)} AS thing "
    "CROSS JOIN event AS told ON told.position = thing.position "
    "CROSS JOIN event AS first ON first.position = thing.began "
    "LEFT JOIN event AS gone ON gone.position = "
    + _newest("app", "thing.id", f"seen.position > thing.position AND {_REMOVED}"),
)

_RUNS = View(
    "every run of a job, as its scheduler has it",
    {
        "run": "its id",
        "job": "its job",
        "state": "INITIAL, STARTING, ACTIVE, SUCCESS or FAILED",
        "framework": "its scheduler",
        "task": "its newest task",
        "attempts": "how many tasks it wanted",
        "schedule": "the schedule that wanted it; NULL where a client did",
        "client": "the client that wanted it",
        "agent": "where its newest task is",
        "message": "why it has its state",
        "created_at": "when, microseconds",
        "created": "the same as text",
        "finished_at": "when it got SUCCESS or FAILED, microseconds",
        "position": "of its run.created",
    },
    "SELECT thing.id AS run, field(made.body, 'data.job') AS job, "
    "coalesce(field(news.body, 'data.state'), 'INITIAL') AS state, made.id AS framework, "
    "coalesce(field(wanted.body, 'data.task'), field(made.body, 'data.task')) AS task, "
    "(field(made.body, 'data.task') IS NOT NULL) + "
    "(SELECT count(*) FROM mention AS seen CROSS JOIN event AS told ON told.position = seen.position "
    "WHERE seen.noun = 'run' AND seen.id = thing.id AND told.foreign_because IS NULL "
    f"AND {_says('framework', 'attempt.scheduled')}) AS attempts, "
    "field(made.body, 'data.schedule') AS schedule, CASE WHEN made.addressee <> '_' THEN made.addressee END AS client, "
    "field(news.body, 'data.agent') AS agent, field(news.body, 'data.message') AS message, made.at AS created_at, "
    f"{_time('made.at')} AS created, "
    "CASE WHEN field(news.body, 'data.state') IN ('SUCCESS', 'FAILED') THEN news.at END AS finished_at, "
    f"thing.position AS position FROM {_things('run', 'framework', 'run.created')} AS thing "
    "CROSS JOIN event AS made ON made.position = thing.position "
    "LEFT JOIN event AS news ON news.position = "
    + _newest("run", "thing.id", _says("framework", "run.updated"))
    + " LEFT JOIN event AS wanted ON wanted.position = "
    + _newest("run", "thing.id", _says("framework", "attempt.scheduled")),
)

_AGENTS = View(
    "every agent that was ever admitted, as the master has it",
    {
        "agent": "its id",
        "state": "ACTIVE or UNREACHABLE",
        "hostname": "of its node",
        "cpu_milli": "thousandths of a CPU it gives",
        "mem_mb": "memory it gives",
        "disk_mb": "disk it gives",
        "ports": "as JSON, pairs of first and last",
        "attributes": "as JSON",
        "role": "whose share its resources are kept for; nothing: anybody's",
        "region": "where it is",
        "zone": "where in the region",
        "registered_at": "when it was first admitted, microseconds",
        "registered": "the same as text",
        "reregistered_at": "when it was last admitted, microseconds",
        "unreachable_at": "when it was marked unreachable, microseconds",
        "position": "of its newest agent.admitted",
    },
    "SELECT thing.id AS agent, CASE WHEN marked.position IS NULL THEN 'ACTIVE' ELSE 'UNREACHABLE' END AS state, "
    + ", ".join(
        f"field(told.body, 'data.{path}') AS {name}"
        for name, path in {
            "hostname": "hostname",
            "cpu_milli": "resources.cpu_milli",
            "mem_mb": "resources.mem_mb",
            "disk_mb": "resources.disk_mb",
            "ports": "resources.ports",
            "attributes": "attributes",
            "role": "role",
            "region": "region",
            "zone": "zone",
        }.items()
    )
    + f", first.at AS registered_at, {_time('first.at')} AS registered, told.at AS reregistered_at, "
    "marked.at AS unreachable_at, thing.position AS position "
    f"FROM {_things('agent', 'master', 'agent.admitted')} AS thing "
    "CROSS JOIN event AS told ON told.position = thing.position "
    "CROSS JOIN event AS first ON first.position = thing.began "
    "LEFT JOIN event AS marked ON marked.position = "
    + _newest("agent", "thing.id", f"seen.position > thing.position AND {_says('master', 'agent.marked')}"),
)

VIEWS: Mapping[str, View] = {
    "events": _EVENTS,
    "tasks": _TASKS,
    "offers": _OFFERS,
    "apps": _APPS,
    "runs": _RUNS,
    "agents": _AGENTS,
}
"""Every view by its name."""
