"""`busbar app queue` and `busbar app reset`."""

from __future__ import annotations

from bus.nouns import AppId, Now, second
from bus.services import DelayReset, ResetRequested
from bus.waiting_rows import QueueRow, Rejected
from cli.session import MARATHON, THE_MASTER
from tests.cli.mouth import START, Mouth, known, playing

ROW = QueueRow(
    app=AppId("/web"),
    count=2,
    since=START,
    delay_until=Now(START + 5 * second),
    processed=7,
    unused=6,
    last_unused_at=START,
    launch_attempt=(
        Rejected(reason="UnfulfilledRole", declined=0, processed=7),
        Rejected(reason="UnfulfilledConstraint", declined=4, processed=7),
        Rejected(reason="InsufficientCpus", declined=2, processed=3),
    ),
)


async def test_the_queue_tells_how_offers_fared():
    mouth = Mouth()
    async with playing(mouth, MARATHON, {"queue": [ROW]}):
        shown = (await mouth("app", "queue")).stdout
        (told,) = await mouth.json("app", "queue")
    assert "UnfulfilledConstraint 4, InsufficientCpus 2" in shown
    assert "UnfulfilledRole" not in shown
    assert (told["app"], told["count"], told["processed"]) == ("/web", 2, 7)


async def test_an_empty_queue_says_so():
    mouth = Mouth()
    async with playing(mouth, MARATHON, {"queue": []}):
        assert (await mouth("app", "queue")).stdout.strip() == "nothing waits"


async def test_reset_asks_marathon():
    mouth, heard = Mouth(), []

    def reset(event):
        heard.append(event.fact)
        return [DelayReset(app=AppId("/web"))] if isinstance(event.fact, ResetRequested) else []

    master = playing(mouth, THE_MASTER, {"frameworks": [known("marathon")]})
    async with master, playing(mouth, MARATHON, {}, reset):
        result = await mouth("app", "reset", "web")
    assert (result.exit_code, result.stdout) == (0, "/web is launched as soon as an offer fits\n"), result.stderr
    assert ResetRequested(app=AppId("/web")) in heard
