"""Which of several processes of one training this is."""

import os


def is_first_process() -> bool:
    """Whether this is rank 0, as torchrun (RANK) or Fabric's launcher (LOCAL_RANK, NODE_RANK) tells."""
    names = ("RANK",) if "RANK" in os.environ else ("LOCAL_RANK", "NODE_RANK")
    return all(os.environ.get(name, "0") == "0" for name in names)
