"""No error of MLflow, and nothing that is made of one, tells the password of an address."""

import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from mlflow.utils.uri import extract_db_type_from_uri

from pneumoseg.config import Params, parse_params
from pneumoseg.report.pages import render
from pneumoseg.report.parameter_changes import settings
from pneumoseg.shared import passwords
from pneumoseg.shared.errors import ParameterError, TrackingError
from pneumoseg.shared.passwords import masked
from pneumoseg.track.store import first_line, open_store, store_uri
from tests.track.tracking_files import REPO

SECRET = "s3cr3t"  # noqa: S105


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refused(status: int) -> None:
    answer = requests.Response()
    answer.status_code, answer.reason, answer.url = status, "UNAUTHORIZED", f"https://anna:{SECRET}@mlflow.org/api"
    answer.raise_for_status()


#: Everything of MLflow, and of what it stands on, that puts an address into its message.
RAISING: dict[str, Callable[[], object]] = {
    "nobody listens": lambda: http_request(
        get_default_host_creds(f"http://anna:{SECRET}@127.0.0.1:{closed_port()}"), "/api", "GET", max_retries=0
    ),
    "no such host": lambda: http_request(
        get_default_host_creds(f"http://anna:{SECRET}@no-such-host.invalid"), "/api", "GET", max_retries=0
    ),
    "not a URL": lambda: http_request(get_default_host_creds(f"http://anna:{SECRET}@[::1"), "/api", "GET"),
    "unauthorized": lambda: refused(401),
    "expired": lambda: refused(403),
    "database of no known kind": lambda: extract_db_type_from_uri(f"oracle+a+b://anna:{SECRET}@db/runs"),
    "store of no known kind": lambda: MlflowClient(tracking_uri=f"ftp://anna:{SECRET}@db/runs").search_experiments(),
    "registry of no known kind": lambda: MlflowClient(
        tracking_uri="http://localhost:1", registry_uri=f"ftp://anna:{SECRET}@db"
    ).search_registered_models(),
    "artifacts of no known kind": lambda: get_artifact_repository(f"gopher://anna:{SECRET}@host/artifacts"),
}


@pytest.mark.parametrize("name", RAISING)
def test_an_error_of_mlflow_that_carries_an_address_tells_no_password(name: str) -> None:
    with pytest.raises(Exception, match=SECRET) as caught:  # it does carry it
        RAISING[name]()
    assert SECRET not in masked(str(caught.value))
    assert SECRET not in first_line(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("postgresql+psycopg2://anna:s3cr3t@db:5432/runs", "postgresql+psycopg2://anna:***@db:5432/runs"),
        ("at http://:s3cr3t@h, then https://b:s3cr3t@i/x", "at http://:***@h, then https://b:***@i/x"),
        ("'mysql://a:p:@/s3cr3t@h'", "'mysql://a:***@h'"),
        ("for url: https://s3cr3t@host/api", "for url: https://***@host/api"),
        ("postgresql://db/runs?user=a&password=s3cr3t&x=1", "postgresql://db/runs?user=a&password=***&x=1"),
        ("https://b.org/k?X-Amz-Signature=s3cr3t&sig=s3cr3t", "https://b.org/k?X-Amz-Signature=***&sig=***"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Ds3cr3t", "mssql+pyodbc:///?odbc_connect=***"),
    ],
)
def test_what_is_masked(text: str, told: str) -> None:
    assert masked(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/experiments/1", "sqlite:////home/a:b@c/mlflow.db", "postgresql://anna@db/runs",
        "mail a:b@c.org", "git@github.com:who/what.git", "see https://mlflow.org/docs?page=2",
    ],
)  # fmt: skip
def test_what_holds_no_password_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize("password", ["s3cr3t@x", "s3cr3t/x", "s3cr3t x", "s3cr3t#x", 'x"s3cr3t y'])
def test_a_password_that_hides_where_it_ends_is_refused_unseen(
    password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"postgresql://anna:{password}@db/runs"
    with pytest.raises(ParameterError, match=r"tracking\.uri: .*percent-encoded") as caught:
        parse_params({"tracking": {"uri": uri}})
    assert "s3cr3t" not in str(caught.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match="percent-encoded") as told:
        store_uri(tmp_path, Params().tracking)
    assert "s3cr3t" not in str(told.value)


@pytest.mark.parametrize("status", [302, 503])
def test_a_server_that_redirects_or_cannot_answer_is_told_without_the_password(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Location", f"http://anna:{SECRET}@127.0.0.1:{closed_port()}/else")
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://anna:{SECRET}@127.0.0.1:{server.server_port}")
        with pytest.raises(TrackingError, match=r"http://anna:\*\*\*@127.*cannot be used") as told:
            open_store(tmp_path, Params().tracking)
        server.shutdown()
    assert SECRET not in str(told.value)
    assert SECRET not in caplog.text


def test_terminal_and_pages_tell_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = io.StringIO()
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", heard)
    passwords.guard_output()
    passwords.guard_output()
    sys.stderr.write(f"https://a:{SECRET}@h\n")
    assert heard.getvalue() == "https://a:***@h\n"
    (tmp_path / "page.html").write_text("{{ view.told }}")
    assert render(tmp_path / "page.html", {"told": f"<https://a:{SECRET}@h>"}) == "&lt;https://a:***@h&gt;"
    assert settings({"data": {"root": f"https://a:{SECRET}@h"}})["data.root"] == '"https://a:***@h"'


def test_a_traceback_tells_none() -> None:
    code = f"from pneumoseg.shared.passwords import guard_output; guard_output(); raise OSError('ftp://a:{SECRET}@h')"
    environment = {**os.environ, "PYTHONPATH": str(REPO / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "OSError: ftp://a:***@h" in done.stderr
    assert SECRET not in done.stderr.splitlines()[-1]
