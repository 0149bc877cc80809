"""The reading page in a real browser: a script of ours on it, as a person at the keyboard, and what it tells."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from pneumoseg.use.page.app import HOST, make_app
from pneumoseg.use.reader import Reader

# As root, Chromium starts only without its sandbox; it has no network to reach and opens a page of our own.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
#: Before each visit: files of the visitor's, and ways to wait, to drop them and to tell.
VISITOR = """
const tell = (seen) => fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
const tick = () => new Promise((done) => setTimeout(done, 30));
const until = async (holds) => { for (let round = 0; round < 600 && !holds(); round += 1) await tick(); };
const at = (id) => document.getElementById(id);
const give = (input, files) => {
  const moved = new DataTransfer();
  for (const file of files) moved.items.add(file);
  at(input).files = moved.files;
  at(input).dispatchEvent(new Event("change", {bubbles: true}));
};
const given = async () => Promise.all((await (await fetch("/given")).json()).map(async (name, place) =>
  new File([await (await fetch(`/given/${place}`)).blob()], name)));
addEventListener("error", (event) => tell({failed: String(event.message)}));
addEventListener("unhandledrejection", (event) => tell({failed: String(event.reason)}));
"""


def find_browser() -> str | None:
    """Chromium or Chrome, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


def visit(
    browser: str,
    reader: Reader,
    script: str,
    files: Mapping[str, bytes],
    picture: Path | None = None,
    size: tuple[int, int] = (1280, 900),
    timeout_s: float = 120.0,
) -> tuple[dict[str, Any], list[str]]:
    """Open the page, run a script on it, and give what it told and every address that was asked for.

    Args:
        browser: its program.
        reader: behind the page.
        script: JavaScript within an async function that knows VISITOR; it ends with ``await tell({...})``.
        files: what ``given()`` gives, by name.
        picture: where a picture of the page goes that the script leaves, as a PNG.
        size: of the window, (width, height).
        timeout_s: for the whole visit.

    Raises:
        TimeoutError: nothing was told.
    """
    told: queue.Queue[dict[str, Any]] = queue.Queue()
    asked: list[str] = []
    inner = make_app(reader)

    async def seen(request: Request) -> Response:
        told.put(json.loads(await request.body()))
        return Response()

    async def names(_: Request) -> Response:
        return JSONResponse(list(files))

    async def content(request: Request) -> Response:
        return Response(list(files.values())[request.path_params["place"]])

    async def visitor(_: Request) -> Response:
        return Response(f"(async () => {{\n{VISITOR}\n{script}\n}})();", media_type="text/javascript")

    async def with_visitor(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope.get("path", ""))
        if scope.get("path") != "/":
            await inner(scope, receive, send)
            return

        async def appended(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"content-length"]
            elif not message.get("more_body"):
                message["body"] += b'<script src="/visitor.js"></script>'
            await send(message)

        await inner(scope, receive, appended)

    routes = [
        Route("/seen", seen, methods=["POST"]),
        Route("/given", names),
        Route("/given/{place:int}", content),
        Route("/visitor.js", visitor),
        Mount("/", with_visitor),
    ]
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), host=HOST, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        if picture:
            command += [f"--screenshot={picture}", f"--timeout={int(timeout_s * 1000)}", "--virtual-time-budget=60000"]
        else:
            command += ["--remote-debugging-port=0"]  # stays open until it is ended
        process = subprocess.Popen(
            [*command, f"http://{HOST}:{port}/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            answer = told.get(timeout=timeout_s)
            if picture:
                process.wait(timeout_s)
        except queue.Empty:
            raise TimeoutError("the page told nothing") from None
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            server.should_exit = True
            thread.join(10)
    return answer, asked
