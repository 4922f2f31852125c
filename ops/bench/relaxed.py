"""`python -m ops.bench.relaxed SYNC ARGUMENT...`: a command of `busbar` whose server of the bus has another
`sync_interval`.

Rule of this room: as in `servers`, one line of the generated configuration is another.
"""

from __future__ import annotations

import sys

from bus import configuration
from bus.configuration import Settings
from cli import detach
from cli.main import busbar
from ops.bench.servers import relaxed

generated = configuration.text


def main() -> None:
    """Do the command; `up --detach` leaves a supervisor behind that starts the server likewise."""
    sync, *arguments = sys.argv[1:]

    def text(settings: Settings) -> str:
        return relaxed(generated(settings), sync)

    configuration.text = text
    # ignored: `cli.detach` has the name from `cli.processes`, and only what it leaves behind is started another way
    detach.OWN_COMMAND = (sys.executable, "-m", "ops.bench.relaxed", sync)  # type: ignore[attr-defined]
    busbar.main(arguments, prog_name="busbar")


if __name__ == "__main__":
    main()
