"""``pneumoseg ui``: the MLflow interface on this machine, for this machine only."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path

from pneumoseg.config import load_params
from pneumoseg.shared.errors import TrackingError

HOST = "127.0.0.1"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("ui", help="open the MLflow interface", description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default 5000)")


def run(args: argparse.Namespace) -> int:
    """Serve the store of this project until Ctrl-C; tells only the address where a server holds the store."""
    from pneumoseg.track.store import artifact_root, is_server, open_store, shown

    root = Path.cwd()
    params = load_params(root / "params.yaml")
    store = open_store(root, params.tracking)
    if is_server(store.uri):
        sys.stdout.write(
            f"The runs are on an MLflow server: {shown(store.uri)} (experiment {params.tracking.experiment})\n"
        )
        return 0
    _check_free(args.port)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(args.port), "--workers", "1"]
    command += ["--backend-store-uri", store.uri, "--artifacts-destination", str(artifact_root(root, store.uri))]
    sys.stdout.write(f"MLflow: http://{HOST}:{args.port}/#/experiments/{store.experiment_id} (Ctrl-C ends it)\n")
    sys.stdout.flush()
    # A server that finds MLFLOW_TRACKING_URI in its environment would ask itself.
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    # Ours has no jobs, and its job runners cost seconds, memory and, on Ctrl-C, pages of tracebacks.
    environment.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    server = subprocess.Popen(command, env=environment)  # noqa: S603
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.wait()  # Ctrl-C reached it too
        return 0


def _check_free(port: int) -> None:
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
