"""``pneumoseg ui``: the MLflow interface on this machine, for this machine only."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from urllib.request import urlopen

from pneumoseg.config import load_params
from pneumoseg.shared.errors import TrackingError
from pneumoseg.shared.passwords import masked

HOST = "127.0.0.1"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("ui", help="open the MLflow interface", description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default 5000)")


def run(args: argparse.Namespace) -> int:
    """Serve the store of this project until Ctrl-C; tells only the address where a server holds the store."""
    from pneumoseg.track.runs_table import prepare_table
    from pneumoseg.track.store import artifact_root, is_server, open_store

    root = Path.cwd()
    params = load_params(root / "params.yaml")
    store = open_store(root, params.tracking)
    if is_server(store.uri):
        sys.stdout.write(f"The runs are on an MLflow server: {masked(store.uri)}/{prepare_table(store)}\n")
        return 0
    check_free(args.port)
    page = prepare_table(store)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(args.port), "--workers", "1"]
    command += ["--artifacts-destination", str(artifact_root(root, store.uri))]
    command += ["--uvicorn-opts", "--log-level warning --no-access-log"]
    # A server that finds MLFLOW_TRACKING_URI in its environment would ask itself.
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    # Not on the command line, which every user of this machine may read.
    environment["MLFLOW_BACKEND_STORE_URI"] = store.uri
    # Ours has no jobs, and its job runners cost seconds, memory and, on Ctrl-C, pages of tracebacks.
    environment.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    environment.setdefault("PYTHONWARNINGS", "ignore")  # of the libraries that MLflow stands on
    server = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603
    with suppress(KeyboardInterrupt), _ending_with_us(server):
        if _answers(server, args.port):
            sys.stdout.write(f"MLflow: http://{HOST}:{args.port}/{page} (Ctrl-C ends it)\n")
            sys.stdout.flush()
        return server.wait()
    return 0


@contextmanager
def _ending_with_us(server: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the server and all that it started when this process is told to end: Ctrl-C, kill, a closed terminal."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server answers; False where it ended instead."""
    while server.poll() is None:
        with suppress(OSError), urlopen(f"http://{HOST}:{port}/health", timeout=5):
            return True
        time.sleep(0.2)
    return False


def check_free(port: int) -> None:
    """Refuse a port that is taken.

    Raises:
        TrackingError: something listens there, or the number is no port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise TrackingError(f"port {port} on {HOST} cannot be used ({error}); choose another with --port") from None
