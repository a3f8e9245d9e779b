"""The experiments of the paper, from nothing: which jobs they have, counted by the calendar."""

from calendar import monthrange
from pathlib import Path

import pytest

from tests.workflow.workflow import Checkout
from weatherpeft.sources.ens10.spec import DAYS

WEIGHTS = "aurora-0.25-pretrained-0be7e57c685d"


def months(first: int, last: int) -> list[str]:
    """Every month of some years, as the label of its period."""
    return [
        f"{year}{month:02}01-{year}{month:02}{monthrange(year, month)[1]}"
        for year in range(first, last + 1)
        for month in range(1, 13)
    ]


@pytest.mark.slow
def test_downscaling_from_nothing(tmp_path: Path) -> None:
    runs = [
        f"{name}-seed0"
        for name in (
            "full", "linear_probe", "lora", "tadp", "sfas", "weatherpeft", "weatherpeft_4_percent",
        )
    ]  # fmt: skip
    baselines = ["interpolation", "regression"]
    expected = {f"{rule} {month}" for rule in ("download", "regrid") for month in months(2007, 2018)}
    expected |= {f"moments {month}" for month in months(2007, 2016)[:-1]}  # December is for validation
    expected |= {f"{rule} {run}" for rule in ("finetune", "predict", "evaluate") for run in runs}
    expected |= {f"{rule} {name}" for rule in ("baseline", "evaluate") for name in baselines}
    expected |= {"statistics", f"weights {WEIGHTS}", "report"}
    assert len(expected) == 2 * 144 + 119 + 3 * 7 + 2 * 2 + 3

    checkout = Checkout.of_repository(tmp_path / "empty")
    assert checkout.planned("config/downscaling.yaml") == expected
    placed = checkout.folder / "data/downscaling/weights" / WEIGHTS
    placed.mkdir(parents=True)
    (placed / "pretrained.ckpt").touch()
    assert checkout.planned("config/downscaling.yaml") == expected - {f"weights {WEIGHTS}"}


@pytest.mark.slow
def test_precipitation_from_nothing(tmp_path: Path) -> None:
    names = ("full", "linear_probe", "lora", "tadp", "sfas", "weatherpeft", "weatherpeft_4_percent")
    runs, baselines = [f"{name}-seed0" for name in names], ["persistence", "climatology"]
    expected = {f"{rule} {month}" for rule in ("download", "regrid") for month in months(2010, 2020)}
    # December 2019 is for validation
    expected |= {f"{rule} {month}" for rule in ("moments", "series") for month in months(2010, 2019)[:-1]}
    expected |= {f"{rule} {run}" for rule in ("finetune", "predict", "evaluate") for run in runs}
    expected |= {f"{rule} {name}" for rule in ("baseline", "evaluate") for name in baselines}
    expected |= {"statistics", "climatology", f"weights {WEIGHTS}", "report"}
    assert len(expected) == 2 * 132 + 2 * 119 + 3 * 7 + 2 * 2 + 4
    checkout = Checkout.of_repository(tmp_path / "empty")
    assert checkout.planned("config/precipitation.yaml") == expected


@pytest.mark.slow
def test_postprocessing_from_nothing(tmp_path: Path) -> None:
    names = ("full", "linear_probe", "lora", "tadp", "sfas", "weatherpeft", "weatherpeft_4_percent")
    runs, baselines = [f"{name}-seed0" for name in names], ["ensemble", "emos"]
    years = [f"{year}0101-{year}1231" for year in range(1998, 2018)]
    expected = {f"{rule} {month}" for rule in ("download", "regrid") for month in months(1998, 2017)}
    expected |= {f"{rule}_forecasts {year}" for rule in ("download", "regrid") for year in years}
    expected |= {f"{rule} {run}" for rule in ("finetune", "predict", "evaluate") for run in runs}
    expected |= {f"{rule} {name}" for rule in ("baseline", "evaluate") for name in baselines}
    expected |= {"standardization", "efi", f"weights {WEIGHTS}", "report"}
    assert len(expected) == 2 * 240 + 2 * 20 + 3 * 7 + 2 * 2 + 4
    checkout = Checkout.of_repository(tmp_path / "empty")
    (checkout.folder / "ens10").mkdir()
    for kind in ("sfc", "pl"):
        for day in DAYS:
            (checkout.folder / "ens10" / f"output.{kind}.2018{day}").touch()
    assert checkout.planned("config/postprocessing.yaml") == expected
