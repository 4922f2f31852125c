"""What a command and a component load: no more than they use. Each module counts in every command's start, and in the
memory of nine processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli.main import ROOMS, busbar
from tests.eventstore.tale import *  # placeholder
