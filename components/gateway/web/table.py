"""All routes together.

Rule of this room: the table and nothing else.
"""

from __future__ import annotations

from components.gateway.web import about, apps, jobs

ROUTES = (*about.ROUTES, *apps.ROUTES, *jobs.ROUTES)
