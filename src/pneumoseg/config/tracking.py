"""Section tracking: what goes to MLflow, and where. It belongs to no stage: no output depends on it."""

import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from pneumoseg.config.section import SECRET, Section
from pneumoseg.shared.passwords import masked

#: What MLflow can write to: servers, and databases directly.
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


class TrackingParams(Section):
    """The experiment in MLflow. The environment variable MLFLOW_TRACKING_URI goes before ``uri``."""

    enabled: bool = True
    uri: str | None = None
    experiment: str = Field("pneumoseg", min_length=1, max_length=250)
    log_model: bool = True

    @field_validator("uri")
    @classmethod
    def _known_scheme(cls, uri: str | None) -> str | None:
        if uri is not None:
            check_uri(uri)
        return uri


def check_uri(uri: str) -> None:
    """Refuse what MLflow cannot write to.

    Raises:
        ValueError: the address cannot be taken apart, or has another scheme; MLflow 3.13 and later refuse
            plain folders.
    """
    user = uri.partition("://")[2].rpartition("@")[0]
    if not user.startswith("/") and re.search(r"[\s@/?#\[\]]", user):
        raise PydanticCustomError(
            SECRET,
            "the user name or password in this address (not shown) holds a blank or one of @ / ? # [ ]; write it "
            "percent-encoded (@ as %40)",
        )
    scheme = urlsplit(uri).scheme
    dialect = scheme.split("+")[0] or uri  # postgresql+psycopg2
    if dialect not in SCHEMES or (dialect == "sqlite" and not re.fullmatch(r"sqlite:///[^?]+", uri)):
        raise ValueError(
            f"{masked(uri)!r} is no address of an MLflow store; give http://host:port, sqlite:////absolute/file.db, or "
            "null for mlflow.db beside params.yaml (MLflow no longer takes plain folders)"
        )
