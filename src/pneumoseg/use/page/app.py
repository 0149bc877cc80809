"""The page's server: on this machine, for this machine, with no request to any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pneumoseg.shared.errors import DataError
from pneumoseg.use.page.held import Readings
from pneumoseg.use.reader import Reader

HOST = "127.0.0.1"
MAX_BYTES = 64 * 2**20
_STATIC = Path(__file__).parent / "static"
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
#: Nothing from elsewhere, nothing in the page's text is code, and no other page may frame it or read from it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_app(reader: Reader) -> Starlette:
    """The application around a reader."""
    readings = Readings(reader)
    about = reader.bundle.about

    async def model(_: Request) -> Response:
        figures = {name: reader.bundle.measured(name) for name in ("sensitivity", "specificity", "auc", "dice_all")}
        tested = about.tested
        return JSONResponse(
            {
                "id": about.id,
                "warnings": reader.bundle.warnings,
                "intended_use": about.intended_use,
                "rule": reader.bundle.rule.describe(),
                "tested": {**figures, "images": tested.images, "positives": tested.positives} if tested else None,
            }
        )

    async def read(request: Request) -> Response:
        content = await _body(request)
        name = unquote(request.headers.get("x-file-name", ""))
        return JSONResponse(await run_in_threadpool(readings.read, content, name))

    async def radiograph(request: Request) -> Response:
        content = await run_in_threadpool(readings.radiograph, request.path_params["number"])
        return Response(content, media_type="image/png")

    async def result(request: Request) -> Response:
        number, name = request.path_params["number"], request.path_params["name"]
        content, media_type, file = await run_in_threadpool(readings.result, number, name)
        return Response(
            content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{file}"'}
        )

    async def truth(request: Request) -> Response:
        number = request.path_params["number"]
        if request.method == "POST":
            return JSONResponse(await run_in_threadpool(readings.give_truth, number, await _body(request)))
        return Response(await run_in_threadpool(readings.truth, number), media_type="image/png")

    routes = [
        *(Route(path, _static(*file)) for path, file in _FILES.items()),
        Route("/api/model", model),
        Route("/api/readings", read, methods=["POST"]),
        Route("/api/readings/{number:int}/radiograph.png", radiograph),
        Route("/api/readings/{number:int}/truth", truth, methods=["GET", "POST"]),
        Route("/api/readings/{number:int}/{name}", result),
    ]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
        Middleware(BaseHTTPMiddleware, dispatch=_guard),
    ]
    return Starlette(routes=routes, middleware=middleware, exception_handlers={DataError: _told})


def _static(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = (_STATIC / name).read_bytes()

    async def serve(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return serve


async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse what another page in the same browser sends, and say to the browser what it may do."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return JSONResponse({"error": "only this page may ask"}, 403, headers=_HEADERS)
    response = await call_next(request)
    response.headers.update(_HEADERS)
    return response


async def _body(request: Request) -> bytes:
    """The content of an upload.

    Raises:
        DataError: it is too large; no more than the limit is ever held.
    """
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise DataError(f"more than {MAX_BYTES // 2**20} MiB; pneumoseg predict reads larger files")
    return b"".join(parts)


async def _told(_: Request, error: Any) -> Response:
    return JSONResponse({"error": str(error)}, 413 if "MiB" in str(error) else 400, headers=_HEADERS)
