"""The SQLite file of a store: made whole or not at all, and with its artifacts beside it wherever it lies."""

from __future__ import annotations

import logging
from pathlib import Path

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import create_engine, text

logger = logging.getLogger(__name__)

SQLITE = "sqlite:///"
ARTIFACTS = "mlartifacts"
#: Where an SQLite store keeps absolute paths of artifacts.
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def make_database(uri: str) -> None:
    """Make the SQLite file aside and move it into place: one that was broken off while made could never be opened."""
    path = Path(uri.removeprefix(SQLITE))
    if path.is_file() and path.stat().st_size > 0:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.making")
    aside.unlink(missing_ok=True)
    SqlAlchemyStore(f"{SQLITE}{aside}", str(path.parent / ARTIFACTS)).engine.dispose()  # type: ignore[no-untyped-call]
    aside.replace(path)


def bring_artifacts_along(uri: str, location: str) -> None:
    """Let a database that was moved or copied find its artifacts beside it, not in the folder that it came from.

    Args:
        uri: of the SQLite file.
        location: where its experiment keeps artifacts; a folder of another name was chosen by somebody.
    """
    database, old = Path(uri.removeprefix(SQLITE)), Path(location)
    new = database.parent / ARTIFACTS
    if old.name != ARTIFACTS or not old.is_absolute() or old.resolve() == new.resolve():
        return
    engine = create_engine(uri)
    with engine.begin() as connection:
        for table, column in _LOCATIONS:
            moved = f"UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1)"  # noqa: S608 - ours
            which = f" WHERE {column} = :old OR substr({column}, 1, length(:old) + 1) = :old || '/'"
            connection.execute(text(moved + which), {"new": str(new), "old": location})
    engine.dispose()
    logger.info("%s: its artifacts are those in %s, no longer those in %s", database, new, location)
