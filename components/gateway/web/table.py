"""All routes together.

Rule of this room: the table and nothing else.
"""

from __future__ import annotations

from components.gateway.web import about, apps, deployments, groups, jobs, pods, stream, tasks

ROUTES = (
    *about.ROUTES,
    *apps.ROUTES,
    *tasks.ROUTES,
    *groups.ROUTES,
    *pods.ROUTES,
    *deployments.ROUTES,
    *stream.ROUTES,
    *jobs.ROUTES,
)
