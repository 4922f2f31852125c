"""The description of the API, from the route table and the types that are read.

Rule of this room: pure; what is not in the table is not in the description. (OpenAPI 3.1.0)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from components.gateway.routes import Route

_REF = "#/components/schemas/{name}"


def describe(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """An OpenAPI document."""
    routes = tuple(routes)
    types = list({id(each): each for route in routes for each in _types(route)}.values())
    shapes, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = {id(each): shape for each, shape in zip(types, shapes, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Busbar: the APIs of Marathon and Metronome",
            "version": version,
            "description": "Ids of apps, groups and pods are paths: `{id}` may hold slashes.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`token=SECRET`",
                },
            },
        },
        "security": [{"basic": []}, {"token": []}],
    }


def _types(route: Route) -> list[Any]:
    return [each for each in (route.body, *route.answers.values()) if each is not None and not isinstance(each, str)]


def _operation(route: Route, by_type: Mapping[int, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.about,
        "tags": [route.api],
        "parameters": [
            *(_parameter(name, "path", required=True) for name in route.names),
            *(_parameter(name, "query", required=False) for name in route.query),
        ],
        "responses": {str(code): _answer(code, what, by_type) for code, what in route.answers.items()},
    }
    if route.body is not None:
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": by_type[id(route.body)]}},
        }
    if route.public:
        found["security"] = []
    return found


def _operation_id(route: Route) -> str:
    """`getV2AppsIdTasks`."""
    words = re.findall(r"[A-Za-z0-9]+", route.path)
    return route.method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _parameter(name: str, where: str, *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": {"type": "string"}}


def _answer(code: int, what: Any, by_type: Mapping[int, Any]) -> dict[str, Any]:
    if isinstance(what, str):
        return {"description": what}
    return {
        "description": HTTPStatus(code).phrase,
        "content": {"application/json": {"schema": by_type[id(what)]}},
    }
