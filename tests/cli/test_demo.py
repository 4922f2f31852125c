"""The demo, and the documents it runs."""

import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from bus.documents import AppSpec, GroupSpec, JobSpec, PodSpec
from bus.documents.reading import parse_document
from cli.claims import CLAIMS, example

EXAMPLES = [
    ("web", AppSpec),
    ("group", GroupSpec),
    ("pod", PodSpec),
    ("wordcount", JobSpec),
    ("tick", JobSpec),
]


@pytest.mark.parametrize(("name", "shape"), EXAMPLES)
def test_every_example_is_a_valid_document(name, shape):
    """And lies where an installed release finds it."""
    assert parse_document(example(f"{name}.json"), shape).id


def test_the_word_count_counts_words():
    """A shell and its small tools say what Python says."""
    run = parse_document(example("wordcount.json"), JobSpec).run
    env = run.env | {"PATH": "/usr/bin:/bin"}
    printed = subprocess.run(["/bin/sh", "-c", run.cmd], env=env, capture_output=True, check=True)
    counted = {word: int(count) for count, word in (line.split() for line in printed.stdout.decode().splitlines())}
    assert counted == Counter(re.findall("[a-z]+", run.env["TEXT"].lower()))
    assert sum(counted.values()) > 500


def test_every_claim_says_what_it_claims():
    """In one sentence, which the demo prints."""
    assert all(claim.__doc__ and claim.__doc__.strip().endswith(".") for claim in CLAIMS)


@pytest.mark.e2e
@pytest.mark.timeout(120)
def test_the_demo_finds_every_claim_true(tmp_path):
    """Exit code 0, and nothing is left."""
    argv = [sys.executable, "-m", "cli.main", "demo", "--json"]
    env = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    result = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    verdicts = json.loads(result.stdout)["verdicts"]
    assert len(verdicts) == len(CLAIMS) + 2
    assert all(verdict["true"] for verdict in verdicts)
    assert list(tmp_path.iterdir()) == []
