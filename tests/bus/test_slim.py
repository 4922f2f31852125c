"""The slim nats-py has all that its client reads."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from inspect import getsource

from nats.aio import client
from nats.js import api

from bus.slim import RELEASE, Header


def test_the_headers_are_nats_pys():
    """Each is worth what it is worth in the whole of it, and none that the client reads is missing."""
    assert {each.name: each.value for each in Header} == {each.name: api.Header[each.name].value for each in Header}
    assert set(re.findall(r"nats\.js\.api\.Header\.(\w+)", getsource(client))) == {each.name for each in Header}


def test_the_client_reads_nothing_else_of_jetstream():
    """But for the two methods that make nats-py's JetStream objects, which nobody here calls."""
    read = set(re.findall(r"nats\.js\.(?!api\.Header\.)([\w.]+)", getsource(client)))
    assert read == {"JetStreamContext", "JetStreamManager"}


def test_the_release_is_the_one_that_is_installed():
    assert version("nats-py") == RELEASE


def test_whoever_needs_the_whole_of_it_still_gets_it():
    """Whichever came first."""
    whole = "import nats.js, importlib.metadata; assert nats.js.JetStreamContext and importlib.metadata.version"
    for code in (f"import bus.slim; {whole}", f"{whole}; import bus.slim; {whole}"):
        subprocess.run([sys.executable, "-c", code], check=True)
