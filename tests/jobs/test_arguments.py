"""Arguments of a job: short enough for a kernel, whatever the period."""

import shlex
from pathlib import Path

import pytest

from tests.experiments import put
from tests.jobs.test_jobs import changed_jobs
from weatherpeft.cli import main
from weatherpeft.jobs.arguments import FOLDER, argument, options

LIMIT = 100_000


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("folder", ["results", "/a long way" * 20])
@pytest.mark.parametrize("name", ["downscaling.yaml", "precipitation.yaml"])
def test_forty_years_of_months_make_a_short_command(name: str, folder: str) -> None:
    jobs = changed_jobs(
        put("results", folder),
        put("source.spans", [{"start": "1981-01-01", "end": "2020-12-31"}]),
        put("splits.train.periods", [{"start": "1981-01-01", "end": "2018-12-31"}]),
        put("splits.validation.periods", [{"start": "2019-01-01", "end": "2019-12-31"}]),
        put("splits.test.periods", [{"start": "2020-01-01", "end": "2020-12-31"}]),
        name=name,
    )
    data = jobs.training_data("train", "validation")
    assert len(data) == 39 * 12
    spec = argument(jobs.finetune("full-seed0").canonical_json())
    line = f"--spec {shlex.quote(spec)} {options([('data', data), ('statistics', jobs.paths.statistics)])}"
    assert len(line.encode()) < LIMIT / 9, "no job has more than nine such options"
    words = shlex.split(line)
    listed = words[words.index("--data") + 1]
    assert Path(listed.removeprefix("@")).read_text().split("\n") == data


def test_a_choice_among_many_candidates_goes_by_file() -> None:
    rates = [number * 1e-6 for number in range(1, 101)]
    jobs = changed_jobs(put("runs.full.methods.0.learning_rate", rates))
    text = jobs.choose("full-seed0").canonical_json()
    assert len(text) > LIMIT
    given = argument(text)
    assert len(given) < 100 and Path(given.removeprefix("@")).read_text() == text


def test_what_is_short_stays_as_it_is() -> None:
    assert argument("{}") == "{}"
    assert options([("data", ["a b", "c"]), ("efi", []), ("run", "d")]) == "--data 'a b' c --run d"
    assert not FOLDER.exists()


def test_a_damaged_or_lost_file_is_written_again() -> None:
    text = "x" * LIMIT
    path = Path(argument(text).removeprefix("@"))
    for harm in (path.unlink, lambda: path.write_text("y")):
        harm()
        assert argument(text) == f"@{path}" and path.read_text() == text
    assert list(FOLDER.iterdir()) == [path]


def test_a_stage_reads_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = changed_jobs()
    data = [f"missing/{number:04} ü" for number in range(2000)]
    words = shlex.split(options([("data", data)]))
    (period,) = jobs.periods("train")
    command = ["moments", "--spec", jobs.moments(period).canonical_json(), *words, "--output", "m"]
    assert len(words) == 2 and main(command) == 1
    assert "missing/0000 ü" in capsys.readouterr().err
    assert main([*command, "--data", "@nowhere"]) == 2
    assert "nowhere: No such file" in capsys.readouterr().err
