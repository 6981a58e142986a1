"""What the API offers: for people to read, and for programs."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from web import openapi
from web.access import Permission, needs
from web.site import Here

router = APIRouter(include_in_schema=False)


@router.api_route("/api", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def overview(request: Request, site: Here) -> HTMLResponse:
    """List what can be asked of the API."""
    return site.page(
        request,
        "reference/api.html",
        about=openapi.ABOUT.strip().split("\n\n"),
        parts=openapi.endpoints(request.app),
        shown=_shown,
    )


def _shown(parameter: dict[str, Any]) -> str:
    """Write what a parameter may be in a few words."""
    schema = parameter["schema"]
    kinds = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    words = [_kind(one) for one in kinds]
    return " or ".join(dict.fromkeys(filter(None, words)))


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"several of: {_kind(schema.get('items', {}))}"
    return str(schema.get("format", schema.get("type", "")))
