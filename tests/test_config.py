"""The root configuration: what it takes and what it refuses."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from snakemake.utils import update_config

from tests.experiments import CONFIGS, NAMES, changed, drop, put, values
from weatherpeft.config import Experiment, load
from weatherpeft.config_errors import error_lines
from weatherpeft.config_runs import Run
from weatherpeft.peft.lora import Lora
from weatherpeft.peft.sfas.spec import Sfas


@pytest.mark.parametrize("name", NAMES)
class TestEveryConfig:
    def test_it_is_valid_and_named_as_its_file(self, name: str) -> None:
        assert load(CONFIGS / name).name == Path(name).stem

    def test_the_workflows_dictionary_is_the_same_experiment(self, name: str) -> None:
        expected = load(CONFIGS / name)
        # Snakemake hands over what YAML read, dates and all; the JSON form is another way to say it.
        assert Experiment.parse(values(name)) == expected
        assert Experiment.parse(expected.model_dump(mode="json")) == expected


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("overlays/*.yaml")), ids=lambda path: path.stem)
def test_every_overlay_is_valid_on_the_experiment_that_it_names(path: Path) -> None:
    text = path.read_text()
    named = re.search(r"--configfile config/(\S+) config/overlays/(\S+)", text)
    assert named and named[2] == path.name
    config = values(named[1])
    update_config(config, yaml.safe_load(text))
    Experiment.parse(config)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({True: {}}, "runs: expected text as a key, found True; quote it"),
        ({"a": {"methods": [{2: 3}]}}, "runs.a.methods.0: expected text as a key, found 2; quote it"),
    ],
)
def test_a_key_that_is_no_text(runs: dict[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        changed(put("runs", runs))


@pytest.mark.parametrize("name", ["a\n", "a b", "$(touch x)", "a;b", "ü", "-a", "a/b", "{a}", "", "a" * 101])
@pytest.mark.parametrize("key", ["name", "runs"])
def test_a_label_is_letters_digits_and_underscores(key: str, name: str) -> None:
    with pytest.raises(ValidationError) as found:
        changed(put(key, {name: {"methods": [{"name": "full"}]}} if key == "runs" else name))
    (line,) = error_lines(found.value)
    assert line.startswith(key) and repr(name) in line and "\n" not in line


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
                "splits.test: the period 20090115-20090116 has 2 days, of which source toy has 0",
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
            (put("seeds", [1, 1]), "seeds must be different"),
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
            (
                put("runs.weatherpeft.methods", [{"name": "full"}, {"name": "sfas"}]),
                "sfas needs the backbone's weights, which full takes before it: expected one of the two",
            ),
            (put("reference", "fulll"), "reference: no run or baseline fulll; expected one of full, "),
            (put("runs.full.precision", "bfloat16"), "runs.full: precision bfloat16 keeps frozen"),
            (put("pretraining.training.precision", "bfloat16"), "pretraining: precision bfloat16 keeps"),
            (drop("pretraining"), "runs.full: starts from pretrained weights, but there are none"),
            (put("checkpoint", "aurora.ckpt"), "give pretraining or checkpoint, not both"),
            (put("placeholders", {"2m_temperature": 280.0}), "placeholder '2m_temperature' is in the data"),
            (put("variables.surface", ["2m_temprature"]), "unknown variable '2m_temprature'"),
            (
                put("variables.surface", ["2m_temperature", "sea_surface_temperature"]),
                "the analyses hold sea_surface_temperature, which is not defined everywhere",
            ),
            (put("training.warmup_steps", 6), "warmup_steps 6 must be fewer than steps 6"),
            (
                put("training.rollout", {"steps": 2, "gradient": "pushforward"}),
                "training.rollout: found 2 steps, expected at most the 1 of the task's forecasts",
            ),
            (
                put("runs.full.rollout", {"steps": 2, "gradient": "backpropagation"}),
                "runs.full.rollout: found 2 steps, expected at most the 1 of the task's forecasts",
            ),
            (
                put("pretraining.training.rollout", {"steps": 2, "gradient": "backpropagation"}),
                "pretraining.training.rollout: found 2 steps, expected at most the 1 of the task's forecasts",
            ),
            (put("runs.full.rollout", {"steps": 1, "gradient": "pushforward"}), "greater than or equal to 2"),
            (put("runs.full.rollout", {"steps": 2}), "runs.full.rollout.gradient"),
            (put("baselines", ["pretrained"]), "pretrained is no baseline of the task downscaling"),
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


class TestCandidates:
    """Lists in place of a run's hyperparameters."""

    def run(self, *methods: dict[str, Any], **own: Any) -> Run:
        return changed(put("runs.full", {"methods": list(methods), **own})).runs["full"]

    def test_every_combination_is_one_and_the_first_list_varies_slowest(self) -> None:
        run = self.run(
            {"name": "lora", "rank": [2, 4], "targets": ["qkv"], "biases": [True, False]},
            {"name": "sfas", "betas": [0.9, 0.99]},
            learning_rate=[0.1, 0.2],
        )
        expected = [
            (rate, rank, biases) for rate in (0.1, 0.2) for rank in (2, 4) for biases in (True, False)
        ]
        found = [
            (choice.learning_rate, lora.rank, lora.biases)
            for choice in run.choices
            for lora in choice.methods[:1]
            if isinstance(lora, Lora)
        ]
        assert found == expected
        assert run.candidates == run.choices and run.methods == run.candidates[0].methods
        for choice in run.choices:
            lora, sfas = choice.methods
            assert isinstance(lora, Lora) and lora.targets == ("qkv",)
            assert isinstance(sfas, Sfas) and sfas.betas == (0.9, 0.99)
        assert list(run.varied[0])[0] == "learning_rate" and len(run.varied[0]) == 3
        assert run.varied[3] == {"learning_rate": 0.1, "lora.rank": 4, "lora.biases": False}

    def test_a_run_without_lists_has_no_candidates(self) -> None:
        run = self.run({"name": "lora", "targets": ["qkv", "fc1"]}, learning_rate=0.5)
        assert run.candidates == () == run.varied
        assert [choice.learning_rate for choice in run.choices] == [0.5]
        assert "candidates" not in run.canonical_json()

    @pytest.mark.parametrize(
        ("methods", "message"),
        [
            ([{"name": "lora", "rnak": [1, 2]}], "rnak"),
            ([{"name": "lora", "rank": [2, 0]}], r"candidates\.1\.methods\.0"),
            ([{"name": "lora", "rank": []}], "rank"),
            ([{"name": ["lora", "tadp"]}], "name"),
            ([{"name": "sfas", "beta": [0.0, 0.5]}], "the Fisher warm-up is of other weights"),
        ],
    )
    def test_what_is_no_candidate_is_named(self, methods: list[dict[str, Any]], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            changed(put("runs.full", {"methods": methods, "start": "random"}))


@pytest.mark.parametrize("name", ["weatherpeft", "regression"])
def test_a_run_or_a_baseline_may_be_the_reference(name: str) -> None:
    assert changed(put("reference", name)).reference == name
    assert "reference" not in changed().model_dump()


class TestThePapersExperiments:
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
