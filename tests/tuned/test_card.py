"""The model card quotes the report."""

from pathlib import Path

from weatherpeft.artifacts import store
from weatherpeft.spec import Spec
from weatherpeft.tuned.card import UNKNOWN, scores_of


class Reported(Spec):
    runs: tuple[dict[str, str | bool], ...]
    reference: str | None = None


def report(path: Path, reference: str | None = None, differences: bool = True) -> Path:
    runs: tuple[dict[str, str | bool], ...]
    runs = ({"name": "full", "reference": True}, {"name": "lora", "reference": False})
    with store.artifact(path, Reported(runs=runs, reference=reference), "weatherpeft.spec") as folder:
        head = "run,name,seed,start,kind,variable,level_hpa,channel,score,value,units,a,b\n"
        rows = [
            f"lora-seed{seed},lora,{seed},pretrained,run,temperature,850,t850,{score},{value},K,1,2\n"
            for seed, score, value in ((0, "rmse", 1.23456), (0, "bias", -0.5), (1, "rmse", 9.0))
        ]
        (folder / "scores.csv").write_text(head + "".join(rows))
        if differences:
            head = "run,field,score,units,difference,lower,upper,percent,percent_lower,percent_upper,p\n"
            rows = ["lora,t850,rmse,K,0,0,0,1.5,-0.25,3,0\n", "lora,all,rmse,,,,,-2,-3,-1,0\n"]
            (folder / "differences.csv").write_text(head + "".join(rows))
    return path


def test_scores_and_differences_with_intervals(tmp_path: Path) -> None:
    expected = [
        "| field | rmse | bias | RMSE against `full`, 95 % interval |",
        "| --- | --- | --- | --- |",
        "| t850 | 1.235 K | -0.5 K | +1.50 % (-0.25 to +3.00) |",
        "| all fields |  |  | -2.00 % (-3.00 to -1.00) |",
    ]
    assert scores_of(report(tmp_path / "one"), "lora-seed0").split("\n") == expected
    named = scores_of(report(tmp_path / "two", reference="regression"), "lora-seed0")
    assert "RMSE against `regression`" in named


def test_what_is_not_known_is_not_quoted(tmp_path: Path) -> None:
    found = report(tmp_path / "report", differences=False)
    assert scores_of(found, "lora-seed0").split("\n")[0] == "| field | rmse | bias |"
    assert scores_of(found, "full-seed0") == UNKNOWN == scores_of(tmp_path / "none", "lora-seed0")
