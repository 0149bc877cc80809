"""MLflow's table of runs as people want it first: what differs between rows, what they score, what they cost."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pneumoseg.evaluate.metrics.core import DICE_ALL, DICE_POS
from pneumoseg.evaluate.metrics.image_ranking import AUC
from pneumoseg.track.store import Store

#: So many columns of parameters are shown; a table that scrolls sideways is read by nobody.
MAX_PARAMETERS = 8
_METRICS = (DICE_ALL.name, DICE_POS.name, AUC.name, "seconds")
_VIEW = "pneumoseg"
#: Tags by which MLflow's interface knows a shared view, and that an experiment is not about language models.
_VIEW_TAG = f"mlflow.sharedViewState.{_VIEW}"
_KIND = ("mlflow.experimentKind", "custom_model_development")


def prepare_table(store: Store) -> str:
    """Give the experiment a view of its rows, the best Dice first; returns its path below the server's address.

    The columns are chosen anew each time: of the parameters those that differ between rows.
    """
    rows = [run.data.params for run in store.search("tags.config_key LIKE '%'")]
    names = differing(rows)
    columns = [f"params.`{name}`" for name in names[:MAX_PARAMETERS]] + [f"metrics.`{name}`" for name in _METRICS]
    view = {
        "selectedColumns": ["attributes.`Created`", *columns],
        "searchFilter": "tags.config_key LIKE '%'",
        "orderByKey": f"metrics.`{DICE_ALL.name}`",
        "orderByAsc": False,
    }
    for key, value in ((_VIEW_TAG, json.dumps(view)), _KIND):
        store.client.set_experiment_tag(store.experiment_id, key, value)
    return f"#/experiments/{store.experiment_id}/runs?viewStateShareKey={_VIEW}&workflowType=machine_learning"


def differing(rows: Iterable[dict[str, str]]) -> list[str]:
    """The parameters that have not the same value in all rows, in the order of the first that has them."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if len({row.get(name) for row in rows}) > 1]
