"""Commands in a small repository, by an author of its own."""

import os
import subprocess
from pathlib import Path

ENVIRONMENT = os.environ | {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "t"), ("EMAIL", "t@example.org"))
}


def shell(root: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=root, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
