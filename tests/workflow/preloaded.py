"""The commands ``snakemake`` and ``weatherpeft`` without their start: a process has imported the libraries.

For each command it forks one that imports the package anew, from the folder that ``PYTHONPATH`` names. What
kills a job, or asks how long it takes, must start the commands themselves.
"""

import functools
import gc
import importlib
import json
import multiprocessing
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

FORK = multiprocessing.get_context("fork")
COMMANDS = {"snakemake": "snakemake.cli", "weatherpeft": "weatherpeft.cli"}
"""Modules with the function ``main`` of each command."""
LIBRARIES = (
    "aurora",
    "cfgrib",
    "dask.array",
    "fastcrc",
    "h5netcdf",
    "huggingface_hub",
    "matplotlib.pyplot",
    "netCDF4",
    "peft",
    "pydantic",
    "safetensors.torch",
    "scipy.stats",
    "smart_open",
    "snakemake.cli",
    "snakemake.profiles",
    "snakemake.report",
    "snakemake.workflow",
    "torch",
    "xarray",
    "zarr",
)
_LENGTH = 8
"""Bytes that tell how long a request is."""
_CLIENT = f"""
import json, os, socket, sys
request = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    socket.send_fds(server, [len(request).to_bytes({_LENGTH}, "big")], [0, 1, 2])
    server.sendall(request)
    status = server.recv(1)
    server.recv(1)  # nothing more: the process has ended
sys.exit(status[0] if status else f"{{sys.argv[2]}} ended without a status")
"""


@functools.cache
def commands() -> Path:
    """A folder with the two programs. What answers them ends with this process."""
    folder = Path(tempfile.mkdtemp())
    address, client = folder / "socket", folder / "client.py"
    client.write_text(_CLIENT)
    for name in COMMANDS:
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{client}" "{address}" "$0" "$@"\n')
        program.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        listening.listen(64)
        subprocess.Popen(
            [sys.executable, "-P", __file__, str(listening.fileno()), str(folder)],
            env=environment | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
    return folder


def _serve(listening: socket.socket) -> None:
    """Fork for each request, until standard input ends."""
    for name in LIBRARIES:
        importlib.import_module(name)
    assert "weatherpeft" not in sys.modules
    gc.freeze()  # so that no collection in a process makes it copy what all share
    while True:
        ready, _, _ = select.select([sys.stdin, listening], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listening.accept()
        with connection:
            FORK.Process(target=_run, args=(connection,)).start()


def _run(connection: socket.socket) -> None:
    """Run a command in this process, which ends with it."""
    os.setsid()
    length, descriptors, _, _ = socket.recv_fds(connection, _LENGTH, 3)
    request = connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, closefd=False)  # multiprocessing has put nothing in its place
    sys.argv, folder, environment = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    status: Any = 1
    try:
        status = importlib.import_module(COMMANDS[Path(sys.argv[0]).name]).main()
    except SystemExit as left:
        status = left.code
    except BaseException:
        traceback.print_exc()
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    connection.send(bytes([status or 0]))


if __name__ == "__main__":
    try:
        _serve(socket.socket(fileno=int(sys.argv[1])))
    finally:
        shutil.rmtree(sys.argv[2], ignore_errors=True)
