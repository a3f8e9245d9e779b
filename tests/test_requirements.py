"""pyproject.toml, environment.yml and constraints.txt say the same."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent

PYPI_NAMES = {
    "dask-core": "dask",
    "matplotlib-base": "matplotlib",
    "python-eccodes": "eccodes",
    "pytorch": "torch",
    "snakemake-minimal": "snakemake",
}
"""Name on PyPI by name on conda-forge, where they differ."""

CONDA_ONLY = {"python", "pip", "azure-storage-blob", "einops", "timm", "torchvision"}
"""The interpreter, the installer, and what packages in the pip section require."""


def project() -> dict[str, SpecifierSet]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [
        Requirement(text) for text in table["dependencies"] + table["optional-dependencies"]["dev"]
    ]
    return {canonicalize_name(found.name): found.specifier for found in requirements}


def environment() -> dict[str, SpecifierSet]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    found: dict[str, SpecifierSet] = {}
    for entry in entries:
        for text in entry["pip"] if isinstance(entry, dict) else [entry]:
            match = re.fullmatch(r"([\w-]+)\s*(.*)", text)
            assert match, text
            name, bounds = match.groups()
            found[canonicalize_name(PYPI_NAMES.get(name, name))] = SpecifierSet(bounds)
    return found


def constraints() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    assert all(len(pair) == 2 for pair in pairs)
    return {canonicalize_name(name): version for name, version in pairs}


def test_conda_and_pip_ask_for_the_same() -> None:
    conda = {name: bounds for name, bounds in environment().items() if name not in CONDA_ONLY}
    assert conda == project()


def test_conda_and_pip_ask_for_the_same_python() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert environment()["python"] == SpecifierSet(requires)


def test_every_requirement_has_a_lower_bound() -> None:
    bounds = {name: {bound.operator for bound in specifiers} for name, specifiers in project().items()}
    assert [name for name, operators in bounds.items() if ">=" not in operators] == []


@pytest.mark.parametrize("name", sorted(project()))
def test_constraints_satisfy_the_bounds(name: str) -> None:
    assert Version(constraints()[name]) in project()[name]


def test_constraints_are_plain_versions() -> None:
    versions = constraints()
    assert "weatherpeft" not in versions
    for name, version in versions.items():
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), f"{name}=={version}"
