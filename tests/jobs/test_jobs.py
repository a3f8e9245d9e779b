"""The specs of an experiment's jobs, and what the jobs read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.experiments import NAMES, changed, drop, put, values
from weatherpeft.config import Experiment
from weatherpeft.jobs import Jobs
from weatherpeft.sources.era5_cds import Era5Cds
from weatherpeft.spec import Period, Spec
from weatherpeft.tasks.downscaling import Downscaling

PER_PERIOD = ("download", "regrid")
PER_TRAINING_PERIOD = ("moments", "series")
PER_RUN = ("finetune", "predict")


def changed_jobs(*changes: Callable[[dict[str, Any]], Any], name: str = "test.yaml") -> Jobs:
    """The jobs of an experiment after changes of its YAML."""
    return Jobs(changed(*changes, name=name))


def specs(experiment: Experiment) -> dict[str, Spec]:
    """The spec of every job of the workflow, by stage and label."""
    jobs = Jobs(experiment)
    labels = jobs.run_labels()
    found: dict[str, Spec] = {
        "statistics": jobs.statistics(),
        "climatology": jobs.climatology(),
        "fisher": jobs.fisher(),
        "report": jobs.report(),
    }
    if experiment.pretraining:
        found["pretrain"] = jobs.pretrain()
    for stage in PER_PERIOD:
        found |= {f"{stage} {label}": getattr(jobs, stage)(label) for label in jobs.periods()}
    for stage in PER_TRAINING_PERIOD:
        labels_of_periods = jobs.periods("train")
        found |= {f"{stage} {label}": getattr(jobs, stage)(label) for label in labels_of_periods}
    for stage in PER_RUN:
        found |= {f"{stage} {label}": getattr(jobs, stage)(label) for label in labels}
    found |= {f"baseline {label}": jobs.baseline(label) for label in jobs.baseline_labels()}
    found |= {f"evaluate {label}": jobs.evaluate(label) for label in (*labels, *experiment.baselines)}
    return found


def differing(one: Experiment, other: Experiment) -> set[str]:
    """Jobs whose spec is not the same."""
    before, after = specs(one), specs(other)
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


@pytest.mark.parametrize("name", NAMES)
def test_every_job_gets_its_spec_through_json(name: str) -> None:
    for key, spec in specs(changed(name=name)).items():
        again = type(spec).model_validate_json(spec.canonical_json())
        assert again == spec and again.digest() == spec.digest(), key


@pytest.mark.parametrize("name", ["a{b}.grib", "$(touch x).grib", "a\nb.grib"])
def test_a_source_file_with_a_name_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    jobs = changed_jobs(put("source.paths", [str(tmp_path / "*.grib")]), name="real_members.yaml")
    with pytest.raises(ValueError, match="source local: expected a path without") as found:
        jobs.source_files()
    assert repr(str(tmp_path / name)) in str(found.value)


@pytest.mark.parametrize("years", [2, 40])
def test_the_periods_are_listed_once_however_many(years: int, monkeypatch: pytest.MonkeyPatch) -> None:
    last = 1980 + years
    jobs = changed_jobs(
        put("source.spans", [{"start": "1981-01-01", "end": f"{last}-12-31"}]),
        put("splits.train.periods", [{"start": "1981-01-01", "end": f"{last}-06-30"}]),
        put("splits.validation.periods", [{"start": f"{last}-07-01", "end": f"{last}-07-31"}]),
        put("splits.test.periods", [{"start": f"{last}-08-01", "end": f"{last}-12-31"}]),
        name="precipitation.yaml",
    )
    labels, listed, compared = jobs.periods("train"), 0, 0
    assert len(labels) == 12 * years - 6
    months, overlaps = Era5Cds.periods, Period.overlaps

    def count_months(self: Era5Cds) -> tuple[Period, ...]:
        nonlocal listed
        listed += 1
        return months(self)

    def count_overlaps(self: Period, other: Period) -> bool:
        nonlocal compared
        compared += 1
        return overlaps(self, other)

    monkeypatch.setattr(Era5Cds, "periods", count_months)
    monkeypatch.setattr(Period, "overlaps", count_overlaps)
    for label in labels:
        jobs.download(label), jobs.regrid(label), jobs.moments(label), jobs.series(label)
        before = jobs.series_data(label)[:-1]
        assert before == jobs.moments_data(label)[:-1]
        assert bool(before) == (label != labels[0])
    assert listed == 0, "known from the first list"
    assert compared <= 12 * years, "one list for all months"


class TestWhatChanges:
    """A change changes the specs of the jobs that it concerns, and no others."""

    @pytest.mark.parametrize(
        ("path", "value", "expected"),
        [
            (
                "runs.weatherpeft.methods.0.prompts",
                5,
                {"finetune weatherpeft-seed0", "predict weatherpeft-seed0"},
            ),
            (
                "runs.weatherpeft.methods.1.gamma",
                0.5,
                {"finetune weatherpeft-seed0", "predict weatherpeft-seed0"},
            ),
            ("runs.full.learning_rate", 0.5, {"finetune full-seed0"}),
            ("runs.full.steps", 7, {"finetune full-seed0"}),
            ("training.learning_rate", 0.5, {"finetune full-seed0", "finetune weatherpeft-seed0"}),
            ("fisher_samples", 3, {"fisher"}),
            ("pretraining.training.steps", 7, {"pretrain"}),
            ("seed", 1, {"pretrain", "fisher"}),
            ("results", "elsewhere", set()),
            ("data", "elsewhere", set()),
            (
                "regridding",
                "bilinear",
                {
                    f"regrid {label}"
                    for label in ("20010115-20010117", "20020115-20020116", "20030115-20030116")
                },
            ),
        ],
    )
    def test_of_one_key(self, path: str, value: Any, expected: set[str]) -> None:
        assert differing(changed(), changed(put(path, value))) == expected

    def test_a_region_changes_what_scores_and_one_held_out_what_trains(self) -> None:
        region = {"north": 60.0, "south": 20.0, "west": 350.0, "east": 90.0}
        labels = ("full-seed0", "weatherpeft-seed0")
        scored = {f"evaluate {label}" for label in (*labels, "interpolation", "regression")} | {"report"}
        assert differing(changed(), changed(put("regions.europe", region))) == scored
        trained = {"fisher", *(f"finetune {label}" for label in labels)}
        without = changed(put("regions.europe", {**region, "held_out": True}))
        assert differing(changed(), without) == scored | trained
        for key, spec in specs(without).items():
            assert type(spec).model_validate_json(spec.canonical_json()) == spec, key
        plain = " ".join(spec.canonical_json() for spec in specs(changed()).values())
        assert "regions" not in plain and "held_out" not in plain

    def test_a_new_run_adds_its_jobs_and_changes_the_report(self) -> None:
        lora = put("runs.lora", {"methods": [{"name": "lora"}]})
        assert differing(changed(), changed(lora)) == {
            "finetune lora-seed0",
            "predict lora-seed0",
            "evaluate lora-seed0",
            "report",
        }

    def test_a_new_seed_adds_a_job_a_run(self) -> None:
        expected = {
            f"{stage} {name}-seed1" for stage in (*PER_RUN, "evaluate") for name in ("full", "weatherpeft")
        }
        assert differing(changed(), changed(put("seeds", [0, 1]))) == expected | {"report"}

    def test_a_further_year_adds_its_months_and_leaves_the_others(self) -> None:
        longer = [
            put("source.spans", [{"start": "2007-01-01", "end": "2019-12-31"}]),
            put("splits.test.periods", [{"start": "2017-01-01", "end": "2019-12-31"}]),
        ]
        found = differing(changed(name="downscaling.yaml"), changed(*longer, name="downscaling.yaml"))
        data = {key for key in found if key.startswith(("download", "regrid", "moments", "statistics"))}
        assert len(data) == 24 and all(" 2019" in key for key in data)

    def test_a_further_span_of_a_planet_leaves_the_others(self) -> None:
        further = {"start": "2004-01-15", "end": "2004-01-16"}
        longer = [
            put("source.spans", [*values()["source"]["spans"], further]),
            put("splits.test.periods", [*values()["splits"]["test"]["periods"], further]),
        ]
        data = {key for key in differing(changed(), changed(*longer)) if key.startswith(("down", "reg"))}
        assert data == {"download 20040115-20040116", "regrid 20040115-20040116"}

    def test_files_of_ones_own_are_one_job_whatever_the_period(self) -> None:
        jobs = changed_jobs(name="real_members.yaml")
        assert jobs.download("20170101-20170102").source == jobs.experiment.source

    def test_a_size_of_the_model_changes_what_has_the_model(self) -> None:
        found = differing(changed(), changed(put("backbone.latent_levels", 4)))
        runs = {f"{stage} {name}-seed0" for stage in PER_RUN for name in ("full", "weatherpeft")}
        assert found == runs | {"pretrain", "fisher"}


class TestJobs:
    def test_a_random_start_needs_no_pretraining(self) -> None:
        random = [put(f"runs.{name}.start", "random") for name in ("full", "weatherpeft")]
        jobs = changed_jobs(drop("pretraining"), *random)
        assert jobs.run_pretrained("full-seed0") == []
        assert jobs.finetune("full-seed0").model.pretrained is False
        with pytest.raises(ValueError, match="experiment test has no pretraining"):
            jobs.pretrain()

    def test_a_run_takes_its_own_schedule_where_it_gives_one(self) -> None:
        jobs = changed_jobs(put("runs.full.learning_rate", 0.5), put("runs.weatherpeft.steps", 9))
        ends = jobs.finetune("full-seed0").learning_rate, jobs.finetune("weatherpeft-seed0").learning_rate
        full = jobs.finetune("full-seed0").training
        tuned = jobs.finetune("weatherpeft-seed0").training
        assert ends == (0.5, None)
        assert (full.learning_rate, full.steps) == (1e-3, 6)
        assert (tuned.learning_rate, tuned.steps) == (1e-3, 9)
        assert full.checkpoint_every == tuned.checkpoint_every == 2

    def test_labels_name_run_and_seed(self) -> None:
        jobs = changed_jobs(put("seeds", [0, 12]))
        assert jobs.run_labels() == [
            "full-seed0",
            "full-seed12",
            "weatherpeft-seed0",
            "weatherpeft-seed12",
        ]
        spec = jobs.finetune("weatherpeft-seed12").model
        assert spec.seed == 12 and [method.name for method in spec.methods] == ["tadp", "sfas"]
        assert jobs.predict("weatherpeft-seed12").model == spec

    def test_periods_are_the_sources_that_a_split_needs(self) -> None:
        jobs = changed_jobs()
        assert jobs.periods() == ["20010115-20010117", "20020115-20020116", "20030115-20030116"]
        assert jobs.periods("train") == ["20010115-20010117"]
        assert jobs.periods("train", "test") == ["20010115-20010117", "20030115-20030116"]
        part = put("splits.validation.periods", [{"start": "2001-01-17", "end": "2001-01-17"}])
        early = put("splits.train.periods", [{"start": "2001-01-15", "end": "2001-01-16"}])
        assert changed_jobs(part, early).periods() == ["20010115-20010117", "20030115-20030116"]

    def test_a_request_asks_for_the_members_of_all_splits(self) -> None:
        request = changed_jobs(name="real_members.yaml").request("20170101-20170102")
        assert request.members == tuple(range(10)) and request.step_hours == 12

    def test_data_is_regridded_to_the_grids_of_task_and_pretraining(self) -> None:
        grids = (
            changed_jobs(put("pretraining.task.grid.resolution_deg", 5.625)).regrid("20010115-20010117").grids
        )
        assert sorted(grid.resolution_deg for grid in grids) == [5.625, 11.25, 22.5]
        assert len(changed_jobs().regrid("20010115-20010117").grids) == 2

    def test_moments_are_of_the_training_days_of_a_period(self) -> None:
        early = put("splits.train.periods", [{"start": "2001-01-15", "end": "2001-01-16"}])
        assert changed_jobs().moments("20010115-20010117").train == changed().splits.train
        (days,) = changed_jobs(early).moments("20010115-20010117").train.periods
        assert days.label == "20010115-20010116"

    def test_a_climatology_reads_what_its_sums_reach_into(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spans = [("2001-01-15", "2001-01-17"), ("2001-01-18", "2001-01-19"), ("2001-01-21", "2001-01-22")]
        changes = [
            put(
                "source.spans",
                [*({"start": a, "end": b} for a, b in spans), *values()["source"]["spans"][1:]],
            ),
            put(
                "splits.train.periods",
                [{"start": "2001-01-16", "end": "2001-01-19"}, {"start": "2001-01-21", "end": "2001-01-22"}],
            ),
            put("variables.accumulated", ["total_precipitation"]),
        ]
        labels = ["20010115-20010117", "20010118-20010119", "20010121-20010122"]
        for names, before in ((("2m_temperature",), []), (("total_precipitation_6hr",), labels[:1])):
            monkeypatch.setattr(Downscaling, "needs_climatology", names)
            jobs = changed_jobs(*changes)
            assert jobs.climatology().names == jobs.series(labels[0]).names == names
            assert jobs.periods("train") == labels
            read = [[Path(path).name for path in jobs.series_data(label)] for label in labels]
            assert read == [
                labels[:1], [*before, labels[1]], labels[2:],
            ]  # fmt: skip
            trained = [jobs.series(label).train.periods for label in labels]
            assert [[days.label for days in periods] for periods in trained] == [
                ["20010116-20010117"], ["20010117-20010119"], ["20010121-20010122"],
            ]  # fmt: skip
        with pytest.raises(ValueError, match="needs the climatology of total_precipitation_6hr: not in var"):
            changed()

    def test_inputs_of_a_run(self) -> None:
        smoothed = put("runs.smoothed", {"methods": [{"name": "sfas", "beta": 0.9}]})
        random = put("runs.random", {"methods": [{"name": "full"}], "start": "random"})
        jobs = changed_jobs(smoothed, random)
        assert jobs.run_pretrained("full-seed0") == ["results/test/pretrained"]
        assert jobs.run_pretrained("random-seed0") == []
        assert jobs.run_fisher("smoothed-seed0") == ["results/test/fisher"]
        assert jobs.run_fisher("full-seed0") == []
        file = changed_jobs(drop("pretraining"), put("checkpoint", "weights/aurora.ckpt"))
        assert file.run_pretrained("full-seed0") == ["weights/aurora.ckpt"]
        assert file.fisher().pretrained and file.finetune("full-seed0").model.pretrained

    def test_weights_to_download_are_read_where_they_are_kept(self) -> None:
        published = {"repository": "weather/aurora", "file": "sub/small.ckpt", "revision": "0123456789" * 4}
        jobs = changed_jobs(drop("pretraining"), put("checkpoint", published))
        place = "data/test/weights/small-012345678901"
        assert jobs.run_pretrained("full-seed0") == jobs.pretrained() == [place]
        assert jobs.fisher().pretrained and jobs.finetune("full-seed0").model.pretrained
        assert jobs.weights(Path(place).name).file == "sub/small.ckpt"
        with pytest.raises(ValueError, match="experiment test downloads no weights"):
            changed_jobs().weights()
        with pytest.raises(ValidationError, match=r"checkpoint\.WeightsSpec\.revison"):
            changed(drop("pretraining"), put("checkpoint", published | {"revison": "main"}))

    def test_placeholders_reach_the_model_and_not_the_data(self) -> None:
        jobs = changed_jobs(put("placeholders", {"mean_sea_level_pressure": 101325.0}))
        assert jobs.finetune("full-seed0").model.fields.all.surface[-1] == "mean_sea_level_pressure"
        assert "mean_sea_level_pressure" not in jobs.statistics().variables.surface
        scored = {name for name, _ in jobs.evaluate("full-seed0").scoring.fields()}
        assert "mean_sea_level_pressure" not in scored and "2m_temperature" in scored
        assert "mean_sea_level_pressure" not in jobs.request("20010115-20010117").variables.surface

    def test_candidates_are_trained_with_the_first_seed_and_the_others_follow_the_choice(self) -> None:
        lora = {"methods": [{"name": "lora", "rank": [2, 4]}], "learning_rate": [0.1, 0.2]}
        jobs = changed_jobs(put("runs.lora", lora), put("seeds", [3, 7]))
        assert jobs.chosen_labels() == ["lora-seed3"]
        paths = [f"results/test/candidates/lora-c{number}" for number in range(4)]
        assert jobs.candidates("lora-seed3") == paths
        specs = [jobs.finetune_candidate(Path(path).name) for path in paths]
        assert jobs.choose("lora-seed3").candidates == tuple(specs)
        assert {spec.model.seed for spec in specs} == {3}
        assert not any(spec.candidates for spec in specs)
        assert [spec.learning_rate for spec in specs] in ([0.1, 0.1, 0.2, 0.2], [0.1, 0.2, 0.1, 0.2])
        other = jobs.finetune("lora-seed7")
        assert [tuning.model.seed for tuning in other.candidates] == [7] * 4
        assert [tuning.learning_rate for tuning in other.candidates] == [s.learning_rate for s in specs]
        assert jobs.choice("lora-seed7") == ["results/test/runs/lora-seed3"]
        assert jobs.choice("lora-seed3") == jobs.choice("full-seed7") == []
        assert jobs.predict("lora-seed7").candidates == other.candidates
        assert jobs.predict("full-seed7").candidates == jobs.finetune("full-seed7").candidates == ()
        assert jobs.run_pretrained("lora-c0") == jobs.run_pretrained("lora-seed7")
        assert jobs.run_fisher("lora-c0") == []
