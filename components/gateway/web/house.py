"""The ASGI application: from a request to the one route that answers it, and from whatever goes wrong to a code.

Rule of this room: whoever asks wrongly is told what is wrong; what we did wrong is logged and tells nothing (500).
"""

from __future__ import annotations

from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bus import logs
from bus.nouns import Refusal
from bus.port import BusClosed, NoAnswer, NotPermitted
from bus.queries import QueryRefused
from components.gateway.config import GatewayConfig
from components.gateway.routes import BOTH, Match, Table, plain
from components.gateway.shapes.errors import complaint_of, invalid
from components.gateway.web.call import Call, HttpError, answer
from components.gateway.web.client import Away, Turned
from components.gateway.web.counted import COUNTED
from components.gateway.web.people import People, UsersRefused
from components.gateway.web.stream import Hub

log = logs.get_logger()

retry_after_s = 2
UNCACHED = {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Expires": "0"}
"""(Marathon: `CacheDisablingFilter.scala`)"""
CODES = {
    Refusal.NOT_FOUND: 404,
    Refusal.ALREADY_EXISTS: 409,
    Refusal.RUNS_ACTIVE: 409,
    Refusal.HAS_DEPENDANTS: 409,
    Refusal.LOCKED: 409,
    Refusal.TOO_MANY: 403,
    Refusal.NOT_RUNNING: 409,
    Refusal.FORBIDDEN: 403,
    Refusal.REVOKED: 403,
}
"""What a refusal is in HTTP, unless a route knows better; whatever is not here is 422."""


class House:
    """Everything that is answered on one port."""

    def __init__(self, table: Table, hub: Hub, people: People, config: GatewayConfig, api: str = BOTH) -> None:
        self.table, self.client, self.hub, self.people = table, hub.client, hub, people
        self.config, self.api = config, api
        self.place = f"{config.host}:{config.port}"
        """Where this is found; known exactly once it listens."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. (ASGI)"""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        with suppress(ClientDisconnect):  # nobody is there to be answered
            response = await self._answer(request)
            COUNTED.codes[response.status_code] += 1
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            response = await self._routed(request)
        except HttpError as error:
            response = error.response()
        except Turned as turned:
            response = refused(turned)
        except (Away, NoAnswer, BusClosed) as away:
            response = answer({"message": str(away)}, 503, headers={"Retry-After": str(retry_after_s)})
        except QueryRefused as error:
            response = answer({"message": str(error)}, 404)
        except NotPermitted as error:
            response = answer({"message": str(error)}, 403)
        except UsersRefused as error:
            log.error("people", why=str(error))
            response = answer({"message": "nobody is let in: the file of users cannot be read"}, 503)
        except ClientDisconnect:
            raise
        except Exception:
            log.exception("request", method=request.method, path=request.url.path)
            response = answer({"message": "the gateway made a mistake: its log says which"}, 500)
        response.headers["X-Marathon-Leader"] = f"http://{self.place}"
        for name, value in UNCACHED.items():
            response.headers.setdefault(name, value)
        return response

    async def _routed(self, request: Request) -> Response:
        path, alias = plain(request.scope["path"])
        match = self._find(path, alias)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed(match)})
        route = match.routes.get("GET" if request.method == "HEAD" and "HEAD" not in match.routes else request.method)
        if route is None:
            raise HttpError(405, f"{request.method} is not allowed on {path}", {"Allow": allowed(match)})
        person = self.people.who(request) if not route.public else None
        if person is not None and route.changes and not person.changes:
            raise HttpError(403, "Not Authorized to perform this action!")
        call = Call(
            request, match.params, person.name if person else "", self.client, self.config, self.hub, self.place
        )
        response: Response = await route.handler(call)
        return response

    def _find(self, path: str, alias: str) -> Match:
        api = alias if self.api == BOTH else self.api
        match = self.table.find(path, api) if alias in (BOTH, api) else None
        if match is None:
            raise HttpError(404, f"URI not found: {path}")
        return match


def allowed(match: Match) -> str:
    """The methods of a path, for a header."""
    methods = {*match.routes, "OPTIONS"} | ({"HEAD"} if "GET" in match.routes else set())
    return ", ".join(sorted(methods))


def refused(turned: Turned) -> Response:
    """A refusal that no route knows better."""
    code = CODES.get(turned.fact.reason)
    if code is None:
        return HttpError(*invalid([complaint_of(text) for text in (turned.fact.message, *turned.fact.also)])).response()
    return answer({"message": turned.fact.message}, code)
