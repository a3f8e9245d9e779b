"""The command ``weatherpeft``, killed in the middle of one job; run by ``test_reproducible.py``.

``KILL_JOB`` names the job's output folder. ``KILL`` is ``job``, to kill this process alone, or
``all``, to kill its process group, Snakemake included.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

KILLED_FIELD = 6
"""Of 7 variables on 2 grids."""
KILLED_STEP = 5
"""Of 6, with a checkpoint every 2; counted from 0."""


def kill() -> None:
    """Leave no chance to clean up."""
    if os.environ["KILL"] == "all":
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def arm(stage: str) -> None:
    """Kill ``regrid`` between two fields that it writes, or ``finetune`` between two steps."""
    if stage == "regrid":
        from weatherpeft.fields.regridding import Regridder

        regrid = Regridder.__call__
        calls: list[None] = []

        def counted(self: Any, values: Any) -> Any:
            calls.append(None)
            if len(calls) == KILLED_FIELD:
                kill()
            return regrid(self, values)

        patch.object(Regridder, "__call__", counted).start()
    elif stage == "finetune":
        from weatherpeft.training import loop

        learning_rate = loop.learning_rate

        def stepped(training: Any, step: int, *peak: Any) -> float:
            if step == KILLED_STEP:
                kill()
            return learning_rate(training, step, *peak)

        patch.object(loop, "learning_rate", stepped).start()


if __name__ == "__main__":
    from weatherpeft.cli import main

    arguments = sys.argv[1:]
    if Path(arguments[arguments.index("--output") + 1]).name == os.environ["KILL_JOB"]:
        arm(arguments[0])
    sys.exit(main(arguments))
