"""The root configuration: what it refuses, and the specs that it gives to the jobs."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from weatherpeft.config import Experiment, load
from weatherpeft.spec import Spec
from weatherpeft.tasks.downscaling import Downscaling

CONFIGS = Path(__file__).resolve().parent.parent / "config"
NAMES = sorted(path.name for path in CONFIGS.glob("*.yaml"))
PER_PERIOD = ("download", "regrid")
PER_TRAINING_PERIOD = ("moments", "series")
PER_RUN = ("finetune", "predict")


def values(name: str = "test.yaml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONFIGS / name).read_text())
    return found


def changed(*changes: Callable[[dict[str, Any]], Any], name: str = "test.yaml") -> Experiment:
    """The experiment after changes of its YAML."""
    config = values(name)
    for change in changes:
        change(config)
    return Experiment.parse(config)


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change that sets a nested key."""

    def change(config: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            config = config[int(key)] if isinstance(config, list) else config.setdefault(key, {})
        config[last] = copy.deepcopy(value)

    return change


def drop(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda config: config.pop(key)


def jobs(experiment: Experiment) -> dict[str, Spec]:
    """The spec of every job of the workflow, by stage and label."""
    labels = experiment.run_labels()
    found: dict[str, Spec] = {
        "statistics": experiment.statistics(),
        "climatology": experiment.climatology(),
        "fisher": experiment.fisher(),
        "report": experiment.report(),
    }
    if experiment.pretraining:
        found["pretrain"] = experiment.pretrain()
    for stage in PER_PERIOD:
        found |= {f"{stage} {label}": getattr(experiment, stage)(label) for label in experiment.periods()}
    for stage in PER_TRAINING_PERIOD:
        labels_of_periods = experiment.periods("train")
        found |= {f"{stage} {label}": getattr(experiment, stage)(label) for label in labels_of_periods}
    for stage in PER_RUN:
        found |= {f"{stage} {label}": getattr(experiment, stage)(label) for label in labels}
    found |= {f"baseline {label}": experiment.baseline(label) for label in experiment.baselines}
    found |= {f"evaluate {label}": experiment.evaluate(label) for label in (*labels, *experiment.baselines)}
    return found


def differing(one: Experiment, other: Experiment) -> set[str]:
    """Jobs whose spec is not the same."""
    before, after = jobs(one), jobs(other)
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


@pytest.mark.parametrize("name", NAMES)
class TestEveryConfig:
    def test_it_is_valid_and_named_as_its_file(self, name: str) -> None:
        assert load(CONFIGS / name).name == Path(name).stem

    def test_every_job_gets_its_spec_through_json(self, name: str) -> None:
        for key, spec in jobs(load(CONFIGS / name)).items():
            again = type(spec).model_validate_json(spec.canonical_json())
            assert again == spec and again.digest() == spec.digest(), key

    def test_the_workflows_dictionary_is_the_same_experiment(self, name: str) -> None:
        expected = load(CONFIGS / name)
        # Snakemake hands over what YAML read, dates and all; the JSON form is another way to say it.
        assert Experiment.parse(values(name)) == expected
        assert Experiment.parse(expected.model_dump(mode="json")) == expected


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                put("task.target_grid.resolution_deg", 10.0),
                "patch size 4 does not divide the grid 10deg of 18 x 36 points",
            ),
            (
                put("pretraining.task.grid.resolution_deg", 10.0),
                "patch size 4 does not divide the grid 10deg of 18 x 36 points",
            ),
            (put("task.target_grid.poles", True), "grid 11.25deg-poles has pole rows"),
            (put("variables.static", []), "needs at least one static variable or placeholder"),
            (
                put("regions", {"nowhere": {"north": 3.0, "south": 2.0, "west": 1.0, "east": 2.0}}),
                "regions.nowhere: holds no point of the grid 11.25deg",
            ),
            (
                put("regions", {"e": {"north": 90, "south": -90, "west": 0, "east": 359, "held_out": True}}),
                "regions: what is held out is all of the grid 11.25deg",
            ),
            (
                lambda config: config["variables"].update(surface=[], atmospheric=[], levels_hpa=[]),
                "variables: expected a field at a time",
            ),
            (
                put("splits.test.periods", [{"start": "2009-01-15", "end": "2009-01-16"}]),
                "split period 20090115-20090116 has 2 days, of which source toy has 0",
            ),
            (
                put("runs.weatherpeft.start", "random"),
                "runs.weatherpeft: the Fisher warm-up is of other weights",
            ),
            (
                lambda config: (put("training.warmup_steps", 2)(config), put("runs.full.steps", 1)(config)),
                "runs.full.steps 1 must be more than training.warmup_steps 2",
            ),
            (
                put("splits.train.periods", [{"start": "2001-01-15", "end": "2001-01-16"}] * 2),
                "periods 20010115-20010116 and 20010115-20010116 share a day",
            ),
            (put("seeds", [1, 1]), "seeds must be different and not negative"),
            (put("seeds", [-1]), "seeds must be different and not negative"),
            (
                put("splits.validation.periods", [{"start": "2001-01-17", "end": "2001-01-17"}]),
                "train period 20010115-20010117 and validation period 20010117-20010117 share a day",
            ),
            (
                put("source.spans", [{"start": "2001-01-15", "end": "2003-01-16"}] * 2),
                "spans 20010115-20030116 and 20010115-20030116 overlap",
            ),
            (put("runs.regression", {"methods": [{"name": "full"}]}), "runs.regression: a baseline has this"),
            (
                put("runs.weatherpeft.methods", [{"name": "sfas"}, {"name": "tadp"}]),
                "put it last, found sfas, tadp",
            ),
            (drop("pretraining"), "runs.full: starts from pretrained weights, but there are none"),
            (put("checkpoint", "aurora.ckpt"), "give pretraining or checkpoint, not both"),
            (put("placeholders", {"2m_temperature": 280.0}), "placeholder '2m_temperature' is in the data"),
            (put("variables.surface", ["2m_temprature"]), "unknown variable '2m_temprature'"),
            (
                put("variables.surface", ["2m_temperature", "sea_surface_temperature"]),
                "task downscaling predicts sea_surface_temperature, which is not defined everywhere",
            ),
            (put("training.warmup_steps", 6), "warmup_steps 6 must be fewer than steps 6"),
        ],
    )
    def test_what_does_not_go_together_is_named(
        self, change: Callable[[dict[str, Any]], Any], message: str
    ) -> None:
        changed()  # valid before
        with pytest.raises(ValidationError) as caught:
            changed(change)
        assert message in str(caught.value)

    @pytest.mark.parametrize(
        ("path", "value", "location"),
        [
            ("backbone.embed_dims", 32, "backbone.aurora.embed_dims"),
            ("training.learning_rates", 1e-3, "training.learning_rates"),
            ("runs.full.seed", 3, "runs.full.seed"),
            ("runs.weatherpeft.methods.0.prompt", 4, "runs.weatherpeft.methods.0.tadp.prompt"),
            ("splits.train.member", [1], "splits.train.member"),
            ("task.residuals", True, "task.downscaling.residuals"),
            ("source.resolution", 3, "source.toy.resolution"),
        ],
    )
    def test_a_misspelt_key_is_named(self, path: str, value: Any, location: str) -> None:
        with pytest.raises(ValidationError) as caught:
            changed(put(path, value))
        (error,) = caught.value.errors()
        assert ".".join(map(str, error["loc"])) == location and error["type"] == "extra_forbidden"

    @pytest.mark.parametrize(
        ("path", "known"),
        [
            ("runs.full.methods.0.name", ("full", "linear_probe", "lora", "sfas", "tadp")),
            ("source.name", ("toy", "local")),
            ("task.name", ("downscaling", "forecasting")),
            ("backbone.name", ("aurora",)),
        ],
    )
    def test_an_unknown_name_lists_the_known_ones(self, path: str, known: tuple[str, ...]) -> None:
        with pytest.raises(ValidationError) as caught:
            changed(put(path, "nonsense"))
        message = str(caught.value)
        assert "nonsense" in message and all(f"'{name}'" in message for name in known)

    @pytest.mark.parametrize("name", ["Full", "full-1", "_full", "full/1", ""])
    def test_labels_are_file_names(self, name: str) -> None:
        with pytest.raises(ValidationError, match="pattern"):
            changed(put("runs", {name: {"methods": [{"name": "full"}]}}))

    def test_a_run_has_a_method_and_an_experiment_a_run(self) -> None:
        with pytest.raises(ValidationError, match="runs.full.methods"):
            changed(put("runs.full.methods", []))
        with pytest.raises(ValidationError, match="runs"):
            changed(put("runs", {}))

    def test_a_file_that_is_no_mapping_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("- one\n- two\n")
        with pytest.raises(ValueError, match=r"config\.yaml: not a YAML mapping"):
            load(tmp_path / "config.yaml")

    def test_a_random_start_needs_no_pretraining(self) -> None:
        random = [put(f"runs.{name}.start", "random") for name in ("full", "weatherpeft")]
        experiment = changed(drop("pretraining"), *random)
        assert experiment.run_pretrained("full-seed0") == []
        assert experiment.finetune("full-seed0").model.pretrained is False
        with pytest.raises(ValueError, match="experiment test has no pretraining"):
            experiment.pretrain()


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
        for key, spec in jobs(without).items():
            assert type(spec).model_validate_json(spec.canonical_json()) == spec, key
        plain = " ".join(spec.canonical_json() for spec in jobs(changed()).values())
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
        experiment = load(CONFIGS / "real_members.yaml")
        assert experiment.download("20170101-20170102").source == experiment.source

    def test_a_size_of_the_model_changes_what_has_the_model(self) -> None:
        found = differing(changed(), changed(put("backbone.latent_levels", 3)))
        runs = {f"{stage} {name}-seed0" for stage in PER_RUN for name in ("full", "weatherpeft")}
        assert found == runs | {"pretrain", "fisher"}


class TestJobs:
    def test_a_run_takes_its_own_schedule_where_it_gives_one(self) -> None:
        experiment = changed(put("runs.full.learning_rate", 0.5), put("runs.weatherpeft.steps", 9))
        full = experiment.finetune("full-seed0").training
        tuned = experiment.finetune("weatherpeft-seed0").training
        assert (full.learning_rate, full.steps) == (0.5, 6)
        assert (tuned.learning_rate, tuned.steps) == (1e-3, 9)
        assert full.checkpoint_every == tuned.checkpoint_every == 2

    def test_labels_name_run_and_seed(self) -> None:
        experiment = changed(put("seeds", [0, 12]))
        assert experiment.run_labels() == [
            "full-seed0",
            "full-seed12",
            "weatherpeft-seed0",
            "weatherpeft-seed12",
        ]
        spec = experiment.finetune("weatherpeft-seed12").model
        assert spec.seed == 12 and [method.name for method in spec.methods] == ["tadp", "sfas"]
        assert experiment.predict("weatherpeft-seed12").model == spec

    def test_periods_are_the_sources_that_a_split_needs(self) -> None:
        experiment = changed()
        assert experiment.periods() == ["20010115-20010117", "20020115-20020116", "20030115-20030116"]
        assert experiment.periods("train") == ["20010115-20010117"]
        assert experiment.periods("train", "test") == ["20010115-20010117", "20030115-20030116"]
        part = put("splits.validation.periods", [{"start": "2001-01-17", "end": "2001-01-17"}])
        early = put("splits.train.periods", [{"start": "2001-01-15", "end": "2001-01-16"}])
        assert changed(part, early).periods() == ["20010115-20010117", "20030115-20030116"]

    def test_a_request_asks_for_the_members_of_all_splits(self) -> None:
        request = load(CONFIGS / "real_members.yaml").request("20170101-20170102")
        assert request.members == tuple(range(10)) and request.step_hours == 12

    def test_data_is_regridded_to_the_grids_of_task_and_pretraining(self) -> None:
        grids = changed(put("pretraining.task.grid.resolution_deg", 5.625)).regrid("20010115-20010117").grids
        assert sorted(grid.resolution_deg for grid in grids) == [5.625, 11.25, 22.5]
        assert len(changed().regrid("20010115-20010117").grids) == 2

    def test_moments_are_of_the_training_days_of_a_period(self) -> None:
        early = put("splits.train.periods", [{"start": "2001-01-15", "end": "2001-01-16"}])
        assert changed().moments("20010115-20010117").train == changed().splits.train
        (days,) = changed(early).moments("20010115-20010117").train.periods
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
            monkeypatch.setattr(Downscaling, "needs_climatology", property(lambda _, names=names: names))
            experiment = changed(*changes)
            assert experiment.climatology().names == experiment.series(labels[0]).names == names
            assert experiment.periods("train") == labels
            assert [experiment.series_periods(label) for label in labels] == [
                labels[:1], [*before, labels[1]], labels[2:],
            ]  # fmt: skip
            trained = [experiment.series(label).train.periods for label in labels]
            assert [[days.label for days in periods] for periods in trained] == [
                ["20010116-20010117"], ["20010117-20010119"], ["20010121-20010122"],
            ]  # fmt: skip
        with pytest.raises(ValueError, match="needs the climatology of total_precipitation_6hr: not in var"):
            changed()

    def test_inputs_of_a_run(self) -> None:
        smoothed = put("runs.smoothed", {"methods": [{"name": "sfas", "beta": 0.9}]})
        random = put("runs.random", {"methods": [{"name": "full"}], "start": "random"})
        experiment = changed(smoothed, random)
        assert experiment.run_pretrained("full-seed0") == ["results/test/pretrained"]
        assert experiment.run_pretrained("random-seed0") == []
        assert experiment.run_fisher("smoothed-seed0") == ["results/test/fisher"]
        assert experiment.run_fisher("full-seed0") == []
        file = changed(drop("pretraining"), put("checkpoint", "weights/aurora.ckpt"))
        assert file.run_pretrained("full-seed0") == ["weights/aurora.ckpt"]
        assert file.fisher().pretrained and file.finetune("full-seed0").model.pretrained

    def test_weights_to_download_are_read_where_they_are_kept(self) -> None:
        published = {"repository": "weather/aurora", "file": "sub/small.ckpt", "revision": "0123456789" * 4}
        experiment = changed(drop("pretraining"), put("checkpoint", published))
        place = "data/test/weights/small-012345678901"
        assert experiment.run_pretrained("full-seed0") == experiment.pretrained() == [place]
        assert experiment.fisher().pretrained and experiment.finetune("full-seed0").model.pretrained
        assert experiment.weights(Path(place).name).file == "sub/small.ckpt"
        with pytest.raises(ValueError, match="experiment test downloads no weights"):
            changed().weights()
        with pytest.raises(ValidationError, match=r"checkpoint\.WeightsSpec\.revison"):
            changed(drop("pretraining"), put("checkpoint", published | {"revison": "main"}))

    def test_downscaling_trains_for_the_epochs_of_the_paper(self) -> None:
        experiment = load(CONFIGS / "downscaling.yaml")
        (days,) = experiment.splits.train.periods
        end = np.datetime64(days.end) + np.timedelta64(1, "D")
        times = np.arange(np.datetime64(days.start), end, np.timedelta64(6, "h"))
        with_frame_before = np.isin(times - np.timedelta64(6, "h"), times).sum()
        steps = with_frame_before / experiment.training.batch_size
        assert experiment.training.steps == round(30 * steps)
        assert experiment.training.warmup_steps == round(3 * steps)
        variables = experiment.variables
        assert len(variables.surface) + len(variables.atmospheric) * len(variables.levels_hpa) == 68

    def test_placeholders_reach_the_model_and_not_the_data(self) -> None:
        experiment = changed(put("placeholders", {"mean_sea_level_pressure": 101325.0}))
        assert experiment.finetune("full-seed0").model.fields.all.surface[-1] == "mean_sea_level_pressure"
        for spec in (experiment.statistics(), experiment.evaluate("full-seed0")):
            assert "mean_sea_level_pressure" not in spec.variables.surface
        assert "mean_sea_level_pressure" not in experiment.request("20010115-20010117").variables.surface
