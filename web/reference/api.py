"""The API's document, over the API."""

from typing import Any

from fastapi import Request

from web import openapi
from web.access import Permission, needs
from web.api import api_router

router = api_router("Reference")


@router.get("/openapi.json", dependencies=[needs(Permission.READ)], summary="This document")
def openapi_document(request: Request) -> dict[str, Any]:
    """Give what the API offers as an OpenAPI 3.1 document, for generators of clients and for tests."""
    return openapi.document(request.app)
