"""`busbar status`: who is up, and what on the stream is nobody's."""

from __future__ import annotations

from bus.queries import Foreigners, QueryRefused
from cli.session import THE_MASTER
from tests.cli.mouth import Mouth, playing

QUIET = {"agents": [], "frameworks": []}


async def test_what_is_nobodys_event_is_alarmed() -> None:
    """An operator sees it where they look first."""
    mouth = Mouth()
    foreign = Foreigners(count=2, position=7, subject="dc.x", because="dc.x #7: not MessagePack (FormatError)")
    async with playing(mouth, THE_MASTER, QUIET | {"foreign": foreign}):
        said = (await mouth("status")).stdout
    assert "alarm: 2 messages are on the stream that no component wrote" in said
    assert said.endswith("the last is #7, dc.x #7: not MessagePack (FormatError)\n")


async def test_a_clean_stream_is_not_spoken_of() -> None:
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, QUIET | {"foreign": Foreigners()}):
        assert "alarm" not in (await mouth("status")).stdout


async def test_a_master_without_a_store_has_nothing_to_tell() -> None:
    def refuse(_question: bytes) -> object:
        raise QueryRefused("this master records its events nowhere")

    mouth = Mouth()
    async with playing(mouth, THE_MASTER, QUIET | {"foreign": refuse}):
        assert (await mouth("status")).stdout.startswith("cluster dc, 0 events")
