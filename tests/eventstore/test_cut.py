"""What is right of a store whose file was cut off can be read, though SQLite itself refuses the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eventstore.errors import StoreFailed
from eventstore.reading import records_of, right_records
from eventstore.verify import verify
from tests.eventstore.damage import make_store
from tests.eventstore.faults import tale_of


@pytest.mark.parametrize("tenths", range(2, 10))
async def test_the_beginning_that_is_right_is_read_from_what_is_left(tmp_path: Path, tenths: int) -> None:
    """As far as verification says, and not an event further is touched."""
    tale = tale_of(600)
    path = await make_store(tmp_path / "store.db", tale.records)
    os.truncate(path, path.stat().st_size * tenths // 10 + 1)  # not the end of a page, either
    with pytest.raises(StoreFailed):
        list(records_of(path))
    finding = verify(path).finding
    assert finding is not None
    right_upto = (finding.position or 1) - 1
    assert list(right_records(path, to=right_upto)) == tale.records[:right_upto]
