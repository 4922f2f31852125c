"""The unmodified PyPI client `marathon` 0.13.0: every call it has."""

import asyncio

import pytest

from tests.components.gateway.house import house
from tests.components.gateway.pypi import calls, every_call


@pytest.mark.timeout(180)
async def test_every_call_of_the_pypi_client_works(tmp_path):
    """Apps, tasks, versions, groups, deployments, the queue, events: with the secrets it knows."""
    from marathon import MarathonClient

    users = tmp_path / "users"
    users.write_text("alice:secret-secret-secret\n")
    users.chmod(0o600)
    async with house(users=str(users)) as web:
        url = f"http://{web.gateway.places['both']}"
        client = MarathonClient(url, username="alice", password="secret-secret-secret")
        called = await asyncio.to_thread(every_call, client, "serve")
        assert calls() - called == {"delete_leader"}
        with_token = MarathonClient(url, auth_token="secret-secret-secret")  # it shows it nowhere but at event streams
        assert await asyncio.to_thread(with_token.get_leader)
