"""The commands of docs/use.md and the cells of docs/use.ipynb, on the experiment that they name."""

import re
import sys
from pathlib import Path

import pytest

from tests.workflow.workflow import ROOT, Checkout

PAGE = (ROOT / "docs/use.md").read_text()
NOTEBOOK = ROOT / "docs/use.ipynb"
TODAY = """
import json
from pathlib import Path
import weatherpeft
from weatherpeft.tuned.raw import Wanted, from_files
tuned = weatherpeft.load("results/test/runs/full-seed0")
folders = json.loads(Path("results/test/raw/20030115-20030116/paths.json").read_text())
files = [file for folder in folders for file in sorted(Path(folder).glob("*.grib"))]
today = from_files(files, Wanted.of(tuned.config.model.fields.measured), {}).load()
for array in today.data_vars.values():
    array.encoding.clear()
today.to_netcdf("today.nc")
"""
CELLS = """
import sys
import matplotlib
import nbformat
matplotlib.use("agg")
names = {}
for cell in nbformat.read(sys.argv[1], as_version=4).cells:
    if cell.cell_type == "code":
        exec(compile(cell.source, "cell", "exec"), names)
equal = (names["own"]["2m_temperature"] == names["forecast"]["2m_temperature"].sel(time=names["own"]["time"]))
assert bool(equal.all())
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = Checkout.of_repository(tmp_path_factory.mktemp("use") / "clone")
    made.snakemake()
    made.run(sys.executable, "-c", TODAY)
    return made


def blocks(heading: str) -> str:
    """The indented lines of a section of the page."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return "\n".join(line[4:] for line in section.splitlines() if line.startswith("    ") or not line)


@pytest.mark.slow
def test_python(checkout: Checkout) -> None:
    checkout.run(sys.executable, "-c", f"{blocks('In Python')}\nassert forecast.sizes['time'] == 7")


@pytest.mark.slow
def test_commands(checkout: Checkout, tmp_path: Path) -> None:
    """All but the upload, which tests/tuned/test_hub.py makes."""
    text = blocks("On files of any day") + blocks("As a folder for others")
    commands = re.findall(r"^weatherpeft (?!push).+$", text, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["apply", "export"]
    for command in commands:
        checkout.run("bash", "-c", command)
    code = (
        "import weatherpeft, xarray as xr\n"
        'tuned = weatherpeft.load("my_adapter", base="results/test/pretrained/pretrained.ckpt")\n'
        'found = tuned.predict(xr.open_dataset("today.nc"))\n'
        'assert found.equals(xr.open_zarr("forecast.zarr").load())'
    )
    checkout.run(sys.executable, "-c", code)
    assert (checkout.folder / "my_adapter" / "README.md").is_file()


@pytest.mark.slow
def test_notebook(checkout: Checkout, tmp_path: Path) -> None:
    clone = checkout.copy(tmp_path / "clone")
    for name in ("forecast.zarr", "my_adapter"):
        clone.run("rm", "-rf", name)
    clone.run(sys.executable, "-c", CELLS, NOTEBOOK)
