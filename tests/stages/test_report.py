"""The report of a small made-up experiment, whose scores are chosen by hand."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.stages.report_experiment import FACTORS, LABELS, TEST, UNITS, VARIABLES, Built, spec_of
from weatherpeft.artifacts import store
from weatherpeft.samples.splits import Split
from weatherpeft.verification.scoring import FieldScoring


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("tiny"), spec_of())


@pytest.fixture(scope="module")
def written(built: Built) -> Path:
    return built.report(built.root / "report")


@pytest.fixture(scope="module")
def html(written: Path) -> str:
    return (written / "report.html").read_text(encoding="utf-8")


def text_of(html: str) -> str:
    """What a reader sees, without images."""
    body = html[html.index("<body>") :]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def table_rows(html: str) -> dict[str, list[str]]:
    """Cells of the score table by method."""
    body = html[html.index("<h2>Scores</h2>") : html.index("<details>")]
    rows = [
        [text_of("<body>" + cell) for cell in re.findall(r"<td>(.*?)</td>", row, re.S)]
        for row in body.split("<tr")
    ]
    return {row[0].split()[0]: row[1:] for row in rows if row}


def test_csv_has_the_mean_over_times(written: Path) -> None:
    with (written / "scores.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == len(FACTORS) * len(LABELS) * 2
    for line in lines:
        expected = FACTORS[line["run"]] * UNITS[line["channel"]] * (1 if line["score"] == "rmse" else -0.25)
        assert float(line["value"]) == pytest.approx(expected, rel=1e-6)
    first = lines[0]
    assert (first["run"], first["kind"], first["seed"], first["trainable_total"]) == (
        "interpolation",
        "baseline",
        "",
        "",
    )
    lora = next(line for line in lines if line["run"] == "lora-seed1" and line["channel"] == "z500")
    assert {key: lora[key] for key in lora if key != "value"} == {
        "run": "lora-seed1",
        "name": "lora",
        "seed": "1",
        "start": "pretrained",
        "kind": "method",
        "variable": "geopotential",
        "level_hpa": "500",
        "channel": "z500",
        "score": "rmse",
        "units": "m2 s-2",
        "trainable_backbone": "120",
        "trainable_total": "620",
    }
    assert lora["value"] == "9.000000e+01"


def test_score_table_has_spread_and_difference_to_full_tuning(html: str) -> None:
    rows = table_rows(html)
    assert list(rows) == ["interpolation", "regression", "full_random", "lora", "full"]
    # Columns: two counts, then 2t 10u t850 z500 q850, then the fields better than the best baseline.
    assert rows["full"] == ["1,000", "1,500", "1.100 ± 0.141", "1.100 ± 0.141", "1.100 ± 0.141"] + [
        "55.0 ± 7.1",
        "0.550 ± 0.071",
        "8 of 8",
    ]
    assert rows["lora"][:3] == ["120", "620", "1.650 ± 0.212 +50.0 %"]
    assert rows["lora"][5] == "82.5 ± 10.6 +50.0 %"
    assert rows["interpolation"][:3] == ["-", "-", "4.000 +263.6 %"]
    assert re.findall(r"<b>([\d.]+)</b>", html[html.index("<h2>Scores") : html.index("<details>")]) == [
        *["1.100"] * 3,
        "55.0",
        "0.550",
    ]


def test_random_start_is_compared_from_the_data(html: str) -> None:
    text = text_of(html)
    assert (
        "From pretrained weights, full has a lower RMSE than from random weights in 8 of 8 fields; "
        "the median difference over all fields is −50.0 %." in text
    )
    assert "Pretrained relative to random −50.0 % −50.0 %" in text


def test_page_names_placeholders_and_planet(html: str) -> None:
    text = text_of(html)
    assert "This is a toy planet, not Earth." in text
    assert (
        "constant placeholders, not trained on, not scored: 10 m zonal wind" not in text
        and "10 m meridional wind (10m_v_component_of_wind = 0.5 m s⁻¹); Soil type (soil_type = 3)" in text
    )


def test_page_is_whole(html: str) -> None:
    assert "http://" not in html and "https://" not in html and "<script" not in html
    assert html.count('src="data:image/png;base64,') == html.count("<img ") == 3 + 3
    assert not re.search(r"\bnan\b", text_of(html))
    for title in ("Latitude-weighted RMSE of every field", "Bias (prediction − target", 'href="times.html"'):
        assert title in html


def test_times_have_a_page(written: Path) -> None:
    html = (written / "times.html").read_text(encoding="utf-8")
    assert "http://" not in html and "https://" not in html and "Every recorded job" in html
    text = text_of(html)
    assert "full-seed0 2 min 06 s 2 min 00 s 2.0 GB" in text
    assert "statistics 0.3 s - -" in text


def test_text_fits_a_terminal(written: Path) -> None:
    lines = (written / "scores.txt").read_text().splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[1] == "A toy planet, not Earth: compare methods, not skill."
    assert lines[2].endswith("not scored: 10m_v_component_of_wind, soil_type")
    names = [line.split()[0] for line in lines[9:14]]
    assert names == ["interpolation", "regression", "full_random", "lora", "full"]
    assert lines[12].split() == [
        "lora",
        "120",
        "620",
        "1.650",
        "1.650",
        "1.650",
        "82.5",
        "0.825",
        "+50.0%",
        "+50.0%",
    ]
    end = lines.index("Compared with full")
    assert lines[end - 2].split() == ["full", "2", "0.141", "0.141", "0.141", "7.1", "0.071"]


def test_text_drops_fields_that_do_not_fit() -> None:
    from weatherpeft.reporting.scores import Entry, rows_of, scored_channels
    from weatherpeft.reporting.table import terminal_text

    channels = scored_channels(VARIABLES.channels())
    rmse = np.arange(1.0, len(channels) + 1)
    entry = Entry(
        "x",
        "m" * 80,
        "method",
        rmse,
        rmse,
        0,
        "pretrained",
        trainable_backbone=10**9,
        trainable_total=2 * 10**9,
    )
    lines = terminal_text(["title"], rows_of([entry]), channels).splitlines()
    assert max(map(len, lines)) <= 120 and "2t" in lines[4] and "q850" not in lines[4]


def test_the_same_files_twice_and_the_digest_does_not_depend_on_times(
    built: Built, written: Path, tmp_path: Path
) -> None:
    slower = tmp_path / "benchmarks"
    shutil.copytree(built.benchmarks, slower)
    for path in slower.glob("finetune-*.tsv"):
        path.write_text(path.read_text().replace("125.5", "999.5"))
    again = built.report(tmp_path / "report", benchmarks=slower)
    assert (again / "times.html").read_bytes() != (written / "times.html").read_bytes()
    for name in ("scores.csv", "scores.txt", "differences.csv", "report.html", "provenance.json"):
        assert (again / name).read_bytes() == (written / name).read_bytes(), name
    assert store.read_provenance(again)["varying"] == ["times.html"]


def test_record_tells_inputs_of_the_same_name_apart(written: Path) -> None:
    record = json.loads((written / "provenance.json").read_text())
    assert {"scores/full-seed0", "predictions/full-seed0", "runs/full-seed0"} <= set(record["inputs"])


def test_members_single_seeds_and_no_extras(tmp_path: Path) -> None:
    split = Split(periods=TEST.periods, members=(3, 5))
    labels = ("interpolation", "regression", "lora-seed0")
    built = Built(tmp_path, spec_of("era5", labels, split))
    page = (built.report(tmp_path / "report", pretrained=None, benchmarks=None) / "report.html").read_text()
    assert "toy planet" not in page and "±" not in page[page.index("<table") : page.index("</table")]
    assert "difference to full tuning" not in page and "Pretrained weights against" not in page
    assert table_rows(page)["lora"][2] == "1.500"
    assert "member 5;" in page and "Not recorded." in page


def test_reads_what_baseline_and_evaluate_write(tmp_path: Path) -> None:
    from weatherpeft.stages.baseline import BaselineSpec, baseline
    from weatherpeft.stages.evaluate import EvaluateSpec, evaluate

    spec = spec_of(labels=("interpolation", "lora-seed0"))
    built = Built(tmp_path, spec)
    made = BaselineSpec(
        baseline="interpolation",
        fields=spec.fields,
        predicted=VARIABLES,
        window=spec.window,
        train=spec.test,
        test=spec.test,
    )
    baseline(made, built.data, built.predictions[0])
    evaluated = EvaluateSpec(scoring=FieldScoring(variables=VARIABLES, grid=spec.window.target_grid))
    evaluate(evaluated, built.data, built.predictions[0], built.scores[0])
    written = built.report(tmp_path / "report", benchmarks=None)
    weights = spec.window.target_grid.area_weights()[:, None]
    errors = []
    for sample in built.samples.samples:
        error = (
            built.samples.inputs(sample)[-1]["temperature"][1]
            - built.samples.target(sample)["temperature"][1]
        )
        errors.append(np.sqrt((weights * error**2).mean()))
    with (written / "scores.csv").open() as stream:
        line = next(
            line for line in csv.DictReader(stream) if (line["channel"], line["score"]) == ("t850", "rmse")
        )
    assert line["run"] == "interpolation"
    assert float(line["value"]) == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.parametrize("which", ["scores", "predictions", "runs"])
def test_missing_and_unknown_artifacts_are_named(built: Built, tmp_path: Path, which: str) -> None:
    paths = getattr(built, which)
    with pytest.raises(ValueError, match=r"no (scores|predictions|finetune artifact) of full_random-seed1"):
        built.report(tmp_path / "report", **{which: paths[:-1]})
    with pytest.raises(ValueError, match="stranger-seed0: .* of an unknown run"):
        built.report(tmp_path / "report", **{which: [*paths, tmp_path / "stranger-seed0"]})
    assert not (tmp_path / "report").exists()


def test_scores_of_other_fields_or_times_are_refused(tmp_path: Path) -> None:
    built = Built(tmp_path, spec_of(labels=("interpolation", "regression", "lora-seed0")))
    built.write_scores("lora-seed0", (*LABELS[:-1], "msl"))
    with pytest.raises(ValueError, match="lora-seed0: channels differ .*; missing: q850; unexpected: msl"):
        built.report(tmp_path / "report")
    built.times = built.times[:-1]
    built.write_scores("lora-seed0")
    with pytest.raises(
        ValueError, match=r"lora-seed0: scored times are not those of the test split.*expected 7 "
    ):
        built.report(tmp_path / "report")


def test_scores_that_are_not_finite_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = Built(tmp_path, spec_of(labels=("interpolation", "regression", "lora-seed0")))
    monkeypatch.setitem(UNITS, "z500", np.nan)
    built.write_scores("lora-seed0")
    with pytest.raises(ValueError, match="lora-seed0: rmse is not finite for z500"):
        built.report(tmp_path / "report")


def test_broken_benchmark_is_named(built: Built, tmp_path: Path) -> None:
    (tmp_path / "predict-x.tsv").write_text("seconds\n1\n")
    with pytest.raises(ValueError, match="predict-x.tsv: not a benchmark file"):
        built.report(tmp_path / "report", benchmarks=tmp_path)
