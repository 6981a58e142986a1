"""The script that draws charts, as it comes with its wheel: compressed once, kept by browsers for good."""

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from web.access import Permission, needs

router = APIRouter(include_in_schema=False)
KEEP: Final = "public, max-age=31536000, immutable"
# It makes a style of its own for maps, which we don't draw and the policy forbids, unless there is one.
_OWN_STYLE: Final = re.compile(rb'getElementById\("([0-9a-f]{64})"\)')


@dataclass(frozen=True)
class Script:
    """`styles` are the ids of elements that keep it from making styles of its own."""

    plain: bytes
    packed: bytes
    sha256: str
    styles: tuple[str, ...]

    @property
    def address(self) -> str:
        return f"/drift/plotly-{self.sha256[:16]}.js"


@cache
def script() -> Script:
    """Give the script; read and compressed when it is first asked for."""
    plain = files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    styles = tuple(sorted({found.decode() for found in _OWN_STYLE.findall(plain)}))
    return Script(plain, gzip.compress(plain, 6), hashlib.sha256(plain).hexdigest(), styles)


@router.api_route("/drift/plotly-{named}.js", methods=["GET", "HEAD"], dependencies=[needs(Permission.OPEN)])
def plotly(named: str, request: Request) -> Response:
    """Give the script by the beginning of its hash, which a page names."""
    found = script()
    if named != found.sha256[:16]:
        raise HTTPException(404)
    headers = {"Cache-Control": KEEP, "ETag": f'"{found.sha256}"', "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            found.packed, headers=headers | {"Content-Encoding": "gzip"}, media_type="text/javascript"
        )
    return Response(found.plain, headers=headers, media_type="text/javascript")
