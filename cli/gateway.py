"""`busbar run gateway`: HTTP for the clients of Marathon and Metronome.

Rule of this room: as in `cli.run`. A gateway owns no log, so it has no term and no store: any number may run.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from bus import logs
from bus.jetstream import connect
from bus.subjects import Author, Kind
from cli.output import Failure, wrong_usage
from cli.wiring import EXPECTED, Place, lost, note, place_options
from components.runtime import system_clock

if TYPE_CHECKING:
    from components.gateway import GatewayConfig

log = logs.get_logger()
_port = click.IntRange(0, 65535)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", type=_port, default=8080, show_default=True, help="For everything; 0 asks for any free one.")
@click.option("--marathon-port", type=_port, help="For Marathon's API alone.")
@click.option("--metronome-port", type=_port, help="For Metronome's API alone, e.g. 9000.")
@click.option("--users", metavar="FILE", help="Who may speak, one name:secret a line, mode 0600.")
@click.option("--open", "is_open", is_flag=True, help="Whoever reaches it may speak: every process of this machine.")
@click.option("--answer-s", type=float, default=8.0, show_default=True, help="How long a request may take.")
@place_options
def gateway(place: Place, users: str | None, is_open: bool, **settings: Any) -> None:
    """Run a gateway: the HTTP APIs of Marathon (/v2) and Metronome (/v1), for clients that know these.

    Its credentials are of the role gateway: whoever speaks HTTP through it is the actor of what it asks for. Without
    --users it must be told --open, and answers this machine alone.

    \b
    Example:
        busbar access token create --gateway web | busbar access join -o web.json
        busbar run gateway --credentials web.json --users users --host 0.0.0.0
    """
    from components.gateway import GatewayConfig  # no other component pays for the import

    if (users is None) != is_open:
        raise wrong_usage("expected one of --users FILE and --open")
    try:
        config = GatewayConfig(users=users, **settings)
    except ValueError as error:
        raise wrong_usage(str(error)) from None
    note(place, "gateway")
    try:
        asyncio.run(_run(place, config))
    except EXPECTED as error:
        log.error("cannot go on", by="gateway", why=f"{type(error).__name__}: {error}")
        raise Failure(f"gateway: {error}") from None


async def _run(place: Place, config: GatewayConfig) -> None:
    from components.gateway.web.people import UsersRefused
    from components.gateway.web.serve import Gateway, PortTaken

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bus = await connect(place.credentials(), name="gateway", on_lost=lost, make_stream=False)
    try:
        if not bus.me.startswith("g-"):
            raise Failure(
                f"the credentials are those of {bus.me or 'nobody'}, not of a gateway",
                next_="busbar access token create --gateway NAME",
            )
        me = Author(Kind.CLIENT, bus.me)
        served = Gateway(config, bus, me, system_clock, node=place.node, instance=uuid4().hex[:12])
        await served.run(stop)
    except UsersRefused as refused:
        raise Failure(str(refused)) from None
    except PortTaken as taken:
        raise Failure(str(taken), next_="name another with --port") from None
    finally:
        await bus.close()
    log.info("stopped", by=bus.me)
