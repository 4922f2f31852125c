"""`make sim`: many seeds, one line each ten; a seed that fails is printed with the command that repeats it."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback

import structlog

from tests.simulation.datacenter import simulate


def main() -> int:
    """Run the seeds; 1 if any failed."""
    parser = argparse.ArgumentParser(description="Simulate datacenters, one per seed.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    seeds = [given.seed] if given.seed is not None else range(given.first, given.first + given.seeds)
    began, failed, events, crashes = time.monotonic(), [], 0, 0
    for count, seed in enumerate(seeds, 1):
        try:
            outcome = simulate(seed, three=True)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            traceback.print_exc()
            print(f"seed {seed} failed; again with: make sim SEED={seed}", flush=True)
            failed.append(seed)
            continue
        events, crashes = events + outcome.events, crashes + outcome.faults["crashes"]
        if given.seed is not None:
            print(outcome)
        if count % 10 == 0 or given.seed is not None:
            print(f"{count} seeds, {events} events, {crashes} crashes, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(seeds) - len(failed)} passed, {len(failed)} failed {failed or ''}".rstrip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
