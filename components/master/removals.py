"""What becomes of a framework that did not come back in time, and of its tasks.

Rule of this room: the framework is forgotten at its due moment; its tasks are killed, and each is in its agent's books
until the agent says that it ended. (Mesos: `Master::removeFramework`, which calls them killed beforehand and so offers
what they still use)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from bus.events import FrameworkRemoved
from bus.nouns import FrameworkId, Now
from components.component import Say
from components.master.state import Framework, MasterState
from components.master.tasks import direct_kill

removals_max = 100
"""Frameworks that one decision removes."""
kills_max = 600
"""Kills that one decision directs."""


def remove_frameworks(state: MasterState, now: Now) -> Iterator[Say]:
    """Forget the frameworks whose failover timeout is over."""
    for name in state.leaving.until(now)[:removals_max]:
        framework = state.frameworks[FrameworkId(name)]
        fact = FrameworkRemoved(framework=framework.framework, message=_why(framework))
        yield Say(fact, to=framework.framework)


def _why(framework: Framework) -> str:
    waited = f"it did not come back within its failover timeout of {framework.failover_timeout_s:g} s"
    return f"{waited}; its tasks are killed: {len(framework.task_ids)}"


def kill_orphans(state: MasterState) -> Iterator[Say]:
    """Have the tasks of removed frameworks killed, as many as one decision holds.

    An agent that cannot be reached keeps the word in its inbox, and hears it again when it registers.
    """
    for name in list(islice(state.orphans, kills_max)):
        task = state.tasks[name]
        yield direct_kill(task, task.kill_grace_s, reason=f"its framework {task.info.framework} was removed")
