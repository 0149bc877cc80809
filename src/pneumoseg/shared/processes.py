"""Which of several processes of one training this is, and which other trainings run on its cores."""

import os

import psutil

_STAGE = "stages/train.py"


def is_first_process() -> bool:
    """Whether this is rank 0, as torchrun (RANK) or Fabric's launcher (LOCAL_RANK, NODE_RANK) tells."""
    names = ("RANK",) if "RANK" in os.environ else ("LOCAL_RANK", "NODE_RANK")
    return all(os.environ.get(name, "0") == "0" for name in names)


def other_trainings() -> list[int]:
    """Process ids of other trainings of this project on this machine that may use cores of this one's."""
    mine = set(_cores(psutil.Process()))
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            training = "python" in "".join(command[:1]) and any(part.endswith(_STAGE) for part in command[1:])
            if training and process.pid != os.getpid() and mine.intersection(_cores(process)):
                found.append(process.pid)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found


def _cores(process: psutil.Process) -> list[int]:
    return process.cpu_affinity() or [] if hasattr(process, "cpu_affinity") else list(range(psutil.cpu_count() or 1))
