"""Who may speak through a gateway, before anybody was added: the person who founds the cluster.

Rule of this room: a file that exists is a person's to edit, and is never written over.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from bus.daemon import write_secret
from cli.session import client_id, user_name

USERS = "gateway.users"
"""`name:secret` a line, mode 0600."""


def keep_users(file: Path) -> None:
    """See that there is a file, with a secret of whoever runs this."""
    if not file.exists():
        write_secret(file, f"{client_id(user_name()).removeprefix('u-')}:{secrets.token_urlsafe(24)}\n".encode())
