"""`busbar store` as people type it, each command in a thread of its own: it runs an event loop of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from click.testing import CliRunner, Result

from cli.main import busbar


def run(*args: object) -> Result:
    with ThreadPoolExecutor(1) as pool:  # commands run event loops of their own
        runner = CliRunner(env={"BUSBAR_DATA": None})
        return pool.submit(runner.invoke, busbar, ["store", *map(str, args)]).result()


def ok(*args: object) -> str:
    result = run(*args)
    assert result.exit_code == 0, result.output + result.stderr
    return result.stdout


def refused(*args: object) -> str:
    """What a command that must fail says went wrong, and what to do."""
    result = run(*args)
    assert result.exit_code in (1, 2), result.output
    assert result.stderr.startswith("error: "), result.output
    return result.stderr
