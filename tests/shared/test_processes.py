"""Other trainings on the same cores, as the table of processes shows them."""

import subprocess
import sys

from pneumoseg.shared.processes import other_trainings


def test_another_training_is_seen_and_nothing_else():
    commands = [("/elsewhere/stages/train.py", "--fold"), ("stages/predict.py",)]
    sleeping = "import sys, time; print(flush=True); time.sleep(60)"
    others = [subprocess.Popen([sys.executable, "-c", sleeping, *rest], stdout=subprocess.PIPE) for rest in commands]
    try:
        for other in others:
            other.stdout.readline()  # until then it may still be a copy of this process
        found = other_trainings()
    finally:
        for other in others:
            other.kill()
            other.communicate()
    assert others[0].pid in found
    assert others[1].pid not in found
