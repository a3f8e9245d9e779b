"""Clocks that step: of the node, while the file server's goes on, and of the file server."""

import os
import random
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Built, Tally
from tests.faults.experiment import EXPERIMENTS
from tests.workflow.workflow import Checkout

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long *ahead;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void start(void) {
    real = dlsym(RTLD_NEXT, "clock_gettime");
    int file = open(getenv("CLOCK_AHEAD"), O_RDONLY);
    ahead = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (clock == CLOCK_REALTIME && ahead) now->tv_sec += *ahead;
    return status;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    int status = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return status;
}

time_t time(time_t *result) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (result) *result = precise.tv_sec;
    return precise.tv_sec;
}
"""
"""Preloaded, it puts the clock ahead by the seconds in a file. Times of files stay the system's."""
DAY = 86400
STEPS = (0, -1, -600, 3 * 3600, -2 * DAY, 90 * DAY, 400 * DAY)
"""Seconds by which the clock of the node is ahead of that of the file server."""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.batches(1, 2)
def test_of_the_node(
    batch: int, build: Callable[[str], Built], dice: random.Random, tmp_path: Path, tally: Tally
) -> None:
    """It steps every few seconds while the whole workflow runs."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("needs a C compiler, cc")
    source, library, ahead, log = (tmp_path / name for name in ("shim.c", "shim.so", "ahead", "log"))
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    built = build("downscaling")
    checkout = Checkout.of_repository(tmp_path / "stepped")
    config = checkout.changed_config(EXPERIMENTS["downscaling"])
    ahead.write_bytes(bytes(8))
    variables = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(ahead)}
    seen = checkout.run(sys.executable, "-c", "import time; print(time.time())", variables=variables)
    _put(ahead, DAY)
    later = checkout.run(sys.executable, "-c", "import time; print(time.time())", variables=variables)
    assert 0 < float(later.stdout) - float(seen.stdout) - DAY < 60
    for _ in range(5):  # Snakemake may find that an output is older than its input, and say so
        process = checkout.start(log, "--notemp", config=config, variables=variables)
        while process.poll() is None:
            try:
                process.wait(dice.uniform(1, 4))
            except subprocess.TimeoutExpired:
                before = struct.unpack("l", ahead.read_bytes())
                _put(ahead, dice.choice([step for step in STEPS if (step,) != before]))
                tally("clock of the node steps", "survived")
        assert "Traceback" not in log.read_text() + checkout.logs()
        if process.returncode == 0:
            break
    checkout.snakemake("--notemp", config=config)
    assert checkout.records() == built.checkout.records()


def _put(ahead: Path, seconds: int) -> None:
    """Step the clock, also of processes that run."""
    with ahead.open("r+b") as stream:
        stream.write(struct.pack("l", seconds))


@pytest.mark.slow
@pytest.mark.batches(1, 2)
@pytest.mark.parametrize("future", [False, pytest.param(True, marks=pytest.mark.long)])
def test_of_the_file_server(
    batch: int,
    future: bool,
    build: Callable[[str], Built],
    dice: random.Random,
    tmp_path: Path,
    tally: Tally,
) -> None:
    """What seems older than its inputs is made again, the same. Snakemake refuses inputs from the future."""
    built = build("downscaling")
    checkout = built.checkout.copy(tmp_path / "copied")
    artifacts = [checkout.folder / name for name in checkout.records()]
    for artifact in dice.sample(artifacts, len(artifacts) // 3):
        ahead = dice.uniform(0, 400 * DAY)
        _stamp(artifact, time.time() + (ahead if future else -ahead))
        if not future:
            tally("files from the past", "survived")
    shutil.rmtree(checkout.folder / "results/test/report")  # so that something is to be done
    if future:
        for artifact in artifacts:
            if artifact.parent.name == "scores":  # which the report reads
                _stamp(artifact, time.time() + DAY)
        done = checkout.snakemake("--notemp", config=built.config, check=False)
        assert done.returncode and "clock skew" in done.stdout and "Traceback" not in done.stdout
        tally("files from the future", "refused")
        for artifact in artifacts:
            _stamp(artifact, time.time())
    checkout.snakemake("--notemp", config=built.config)
    assert checkout.records() == built.checkout.records()


def _stamp(artifact: Path, seconds: float) -> None:
    for path in (artifact, *artifact.rglob("*")):
        if path.exists():
            os.utime(path, (seconds, seconds))
