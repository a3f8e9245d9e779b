"""Jobs that must end early: they save their state, and their exit status asks to be called again."""

import logging
import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

STATUS = 75
"""Exit status of an interrupted job: ``EX_TEMPFAIL`` of sysexits.h, "try again"."""
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Signals that a batch system sends some time before it kills a job."""
_log = logging.getLogger(__name__)


class Interrupted(SystemExit):
    """Ends the process with ``STATUS``, after everything has been saved."""

    def __init__(self, reason: str, progress: str) -> None:
        super().__init__(STATUS)
        _log.warning("interrupted (%s) after %s; the same command goes on from there", reason, progress)


class Interruption:
    """Tells whether the running job must end early.

    It is a context, in which ``SIGNALS`` are noted instead of ending the process.

    Args:
        budget_minutes: time that the job has from now on, in minutes; no limit by default. The validation
            and the checkpoint after the last step within it do not count.
    """

    def __init__(self, budget_minutes: float | None = None) -> None:
        self._budget_minutes = budget_minutes
        self._started = time.monotonic()
        self._signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def reason(self) -> str | None:
        """Why the job must end as soon as possible; None if it need not."""
        if self._signal:
            return self._signal.name
        minutes = (time.monotonic() - self._started) / 60
        if self._budget_minutes is not None and minutes >= self._budget_minutes:
            return f"time budget of {self._budget_minutes:g} minutes"
        return None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)
