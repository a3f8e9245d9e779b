"""The commands of ``preloaded`` do what the programs do, without their imports."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.workflow import preloaded

PROGRAM = """
import os, sys

def main():
    first = sys.stdin.readline().strip()
    print(first, os.getcwd(), sys.argv[1:], os.environ["WHO"], "torch" in sys.modules, flush=True)
    print("words", file=sys.stderr)
    {end}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("return None", 0, "words\n"),
        ("return 3", 3, "words\n"),
        ("sys.exit()", 0, "words\n"),
        ("sys.exit(4)", 4, "words\n"),
        ("sys.exit('no')", 1, "words\nno\n"),
        ("raise ValueError('no')", 1, "ValueError: no\n"),
        ("os._exit(5)", 1, "weatherpeft ended without a status\n"),
    ],
)
def test_a_command_is_that_of_its_folder(tmp_path: Path, end: str, status: int, said: str) -> None:
    (tmp_path / "weatherpeft").mkdir()
    (tmp_path / "weatherpeft/__init__.py").touch()
    (tmp_path / "weatherpeft/cli.py").write_text(PROGRAM.format(end=end))
    done = subprocess.run(
        [preloaded.commands() / "weatherpeft", "a b", "--ü"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "WHO": "me"},
        input="first\n",
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"first {tmp_path} ['a b', '--ü'] me True\n"
    assert done.returncode == status and done.stderr.endswith(said)
