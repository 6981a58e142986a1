"""The API's own document: what there is, who may, and how it is asked."""

import threading
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import RouteContext, iter_route_contexts

from db.roles import ROLES, SCOPES
from web.access import COOKIE, GRANTS, SAFE, SCOPE_GRANTS, Permission, permission_of
from web.api import PREFIX, Problem
from web.idempotency import HEADER, LONGEST_KEY, SHORTEST_KEY, OnceRoute

ABOUT: Final = f"""\
Everything that the pages of Pyramidion can do, for stations, MES and other programs.

A machine shows a token: `Authorization: Bearer pyr_...` (an admin makes it: `pyramidion tokens make`). A
browser that is logged in shows its cookie, and with each request that changes something the header
`X-Form-Token`.

Lists are paged by key: `next` is the address of the next page. Errors are problem documents (RFC 9457), whose
`detail` says what to do. What changes something takes an `{HEADER}`: sent again with the same one within 24
hours, it is not done again, and answered as before.

All times are UTC. Ids are UUIDs of version 7, which begin with the time.
"""
PROBLEM: Final = "application/problem+json"
_KEY: Final = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Has the request done once, however often it is sent with this key within 24 hours.",
    "schema": {"type": "string", "minLength": SHORTEST_KEY, "maxLength": LONGEST_KEY, "pattern": "^[!-~]+$"},
    "example": "0198f5d2-6d3c-7c31-9d0a-2b6a0f6d1f55",
}
_SCHEMES: Final = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token of a station or another machine."},
    "login": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "A person's login; what changes something carries the header X-Form-Token as well.",
    },
}
_lock: Final = threading.Lock()


def document(app: FastAPI) -> dict[str, Any]:
    """Give the OpenAPI document of the routes below PREFIX; made once."""
    with _lock:
        made: dict[str, Any] | None = getattr(app.state, "openapi", None)
        if made is None:
            made = app.state.openapi = _make(app)
    return made


def endpoints(app: FastAPI) -> list[tuple[str, list[dict[str, Any]]]]:
    """Give the operations by tag, for people: method, path, summary, description, and who may."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document(app)["paths"].items():
        for method, operation in operations.items():
            one = {**operation, "method": method.upper(), "path": path}
            found.setdefault(operation["tags"][0], []).append(one)
    return list(found.items())


def _make(app: FastAPI) -> dict[str, Any]:
    contexts = [one for one in iter_route_contexts(app.routes) if (one.path or "").startswith(PREFIX)]
    made = get_openapi(
        title="Pyramidion",
        version=version("pyramidion"),
        description=ABOUT,
        routes=[_WithoutHead(**vars(one)) for one in contexts],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/"}],
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    schemas.setdefault("Problem", Problem.model_json_schema())
    made["components"]["securitySchemes"] = _SCHEMES
    for context in contexts:
        for method in (context.methods or set()) - {"HEAD"}:
            _complete(made["paths"][context.path_format][method.lower()], context, method)
    return made


class _WithoutHead(RouteContext):
    """A route without HEAD, which is the same as GET and would have the same name."""

    @property
    def methods(self) -> set[str] | None:
        return (super().methods or set()) - {"HEAD"}


def _complete(operation: dict[str, Any], context: RouteContext, method: str) -> None:
    permission = permission_of(context.original_route)
    people = [role for role in ROLES if permission in GRANTS[role]]
    scopes = [scope for scope in SCOPES if permission in SCOPE_GRANTS[scope]]
    operation["security"] = [{"token": []}] * bool(scopes) + [{"login": []}] * bool(people)
    operation["x-permission"] = permission.value
    operation["description"] = "\n\n".join(
        [*filter(None, [operation.get("description")]), _who_may(permission, people, scopes)]
    )
    if isinstance(context.original_route, OnceRoute) and method not in SAFE:
        operation.setdefault("parameters", []).append(_KEY)
    operation["responses"].setdefault("default", {"description": "What went wrong, and what to do."})
    for status, answer in operation["responses"].items():
        if status >= "400":  # which "default" is as well
            content = answer.setdefault("content", {})
            content.pop("application/json", None)
            content.setdefault(PROBLEM, {"schema": {"$ref": "#/components/schemas/Problem"}})


def _who_may(permission: Permission, people: Iterable[str], scopes: Iterable[str]) -> str:
    if permission is Permission.ACCOUNT:
        return "For whoever is logged in."
    who = ["the role " + " or ".join(people)] if people else []
    who += ["a token with the scope " + " or ".join(scopes)] if scopes else []
    return f"Takes {', or '.join(who)}."
