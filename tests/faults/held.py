"""The command ``weatherpeft``, whose first training waits in the middle; run by ``test_slurm.py``.

It waits until it is released, or told to stop. ``python held.py FOLDER ARGUMENTS ...``: the folder is for
``HELD`` and ``RELEASED``.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

HELD_STEP = 4
"""Of 6, counted from 0; the last checkpoint is just before it."""
HELD = "held"
"""File with the number of the process that waits."""
RELEASED = "released"
"""File that lets it go on."""


def hold(folder: Path) -> None:
    """Wait before a step."""
    from weatherpeft.training import loop
    from weatherpeft.training.interruption import Interruption

    learning_rate, note = loop.learning_rate, Interruption._note
    released = folder / RELEASED

    def noted(self: Interruption, *what: Any) -> None:
        released.touch()
        note(self, *what)

    def stepped(training: Any, step: int, *peak: Any) -> float:
        if step == HELD_STEP and not released.exists():
            partial = folder / "partial"
            partial.write_text(str(os.getpid()))
            partial.rename(folder / HELD)
            while not released.exists():
                time.sleep(0.1)
        return learning_rate(training, step, *peak)

    patch.object(Interruption, "_note", noted).start()
    patch.object(loop, "learning_rate", stepped).start()


if __name__ == "__main__":
    from weatherpeft.cli import main

    hold(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
