"""pneumoseg page: drop radiographs into a browser and see what the model says of them."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pneumoseg.commands.predict import MODEL, bundle_folder


def register(subparsers: Any) -> None:
    """Add the command to the parser of ``pneumoseg``."""
    parser = subparsers.add_parser(
        "page",
        help="a page that answers dropped radiographs",
        description="A page on 127.0.0.1 that answers radiographs dropped into it. Files stay in memory; nothing is "
        "written, and nothing leaves this machine. Research use only, not a medical device.",
    )
    parser.add_argument("--model", default="data/bundle", help=MODEL)
    parser.add_argument("--port", type=int, default=5050, help="port on 127.0.0.1 (default 5050)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    import uvicorn

    from pneumoseg.commands.ui import check_free
    from pneumoseg.use.page.app import HOST, make_app
    from pneumoseg.use.reader import load

    check_free(args.port)
    app = make_app(load(bundle_folder(args.model), args.device))
    sys.stdout.write(f"http://{HOST}:{args.port}/ (Ctrl-C ends it)\n")
    sys.stdout.flush()
    uvicorn.run(app, host=HOST, port=args.port, log_level="warning", server_header=False)
    return 0
