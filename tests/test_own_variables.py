"""Variables of one's own in a configuration, and in the jobs that it makes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import own_variables as own
from tests.workflow.workflow import CONFIG, ROOT
from weatherpeft.checks import checked
from weatherpeft.config import Experiment
from weatherpeft.config_errors import RefusedError
from weatherpeft.jobs import Jobs
from weatherpeft.sources.local import Local

Change = Callable[[dict[str, Any]], object]


def values(change: Change = lambda values: None) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(yaml.safe_dump(own.experiment(Path("files"), ROOT / CONFIG)))
    change(found)
    return found


def define(name: str, **changes: Any) -> Change:
    return lambda values: values["define"].setdefault(name, {}).update(changes)


def rename(name: str) -> Change:
    """What the source calls ``x`` is a variable of the experiment's."""
    return lambda values: values["source"].update(rename={"x": name})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (define("hail_mass", units="bananas"), "define.hail_mass.units: expected units that UDUNITS reads"),
        (define("hail_mass", starts_from="2m_temprature"), "define.hail_mass.starts_from: unknown variable"),
        (define("hail_mass", unit="K"), "define.hail_mass.unit: unknown key; did you mean 'units'?"),
        (define("fog", units="1"), "define.fog.kind: missing"),
        (define("temperature", kind="surface", units="K"), "define: temperature: the table of variables has"),
        (
            define("hail_mass", short_name="dl"),
            "define: hail_mass and lake_depth have the same name in files",
        ),
        (
            lambda values: values["variables"]["surface"].append("hail_mas"),
            "variables.surface: unknown variable 'hail_mas'; known here: ",
        ),
        (lambda values: values.pop("define"), "variables.surface: unknown variable 'hail_mass'"),
        (lambda values: values.update(define=["hail_mass"]), "define: "),
        (rename("hail_mas"), "source.rename: x: unknown variable 'hail_mas'; did you mean 'hail_mass'?"),
        (rename("clwc"), "source.rename: x: unknown variable 'clwc'; did you mean 'cloud_water'?"),
        (rename("msl"), "source.rename: x: unknown variable 'msl'; did you mean 'mean_sea_level_pressure'?"),
        (rename("snow_6hr"), "source.rename: x: unknown variable 'snow_6hr'"),
        (
            lambda values: values["variables"].update(surface=["snow_6hr"]),
            "variables.surface: unknown variable 'snow_6hr'; known here: ",
        ),
        (define("hail_mass", partial=True), "variables: the analyses hold hail_mass, which is not defined"),
        (
            lambda values: values.update(placeholders={"hail": 1.0}),
            "placeholders: placeholder 'hail' is not a known surface, atmospheric or static variable",
        ),
    ],
)
def test_what_is_refused(change: Change, message: str, tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump(values()))
    assert checked([config], work=False).define.keys() == own.DEFINE.keys()
    config.write_text(yaml.safe_dump(values(change)))
    with pytest.raises(RefusedError) as error:
        checked([config], work=False)
    assert message in error.value.lines[0]
    others = [line for line in error.value.lines[1:] if "hail_mas" in line and "cloud" not in line]
    assert not others


def specs(change: Change = lambda values: None) -> dict[str, Any]:
    jobs = Jobs(Experiment.parse(values(change)))
    (period,) = jobs.periods()
    return {
        "download": jobs.download(period),
        "regrid": jobs.regrid(period),
        "moments": jobs.moments(period),
        "pretrain": jobs.pretrain(),
        "predict": jobs.predict("full-seed0"),
        "evaluate": jobs.evaluate("full-seed0"),
        "report": jobs.report(),
    }


def test_the_specs_of_jobs_hold_the_definitions_that_they_name_and_no_others() -> None:
    before = specs()
    for spec in before.values():
        assert type(spec).parse(spec.model_dump(mode="json")) == spec
    assert specs(define("fog", kind="surface", units="1")) == before
    assert before["regrid"].request.variables.define.keys() == own.DEFINE.keys()


def test_what_a_change_of_a_definition_makes_again() -> None:
    before = specs()
    after = specs(define("hail_mass", plausible=[-1, 400], starts_from=None))
    assert {name for name in before if before[name] == after[name]} == {"download"}
    assert specs(define("hail_mass", aliases=["hail"]))["download"] != before["download"]


def test_experiments_in_one_process_do_not_see_each_others_variables() -> None:
    first, second = Experiment.parse(values()), Experiment.parse(values(define("hail_mass", units="g m-2")))
    assert first.variables.row("hail_mass").units == "kg m-2"
    assert second.variables.row("hail_mass").units == "g m-2"
    with pytest.raises(ValueError, match="unknown variable 'hail_mass'"):
        Experiment.parse(values(lambda values: values.pop("define")))


TARGET = {"variable": "hail_mass"}


def postprocessing(**changes: Any) -> Change:
    """The experiment as one that corrects forecasts of hail."""

    def change(values: dict[str, Any]) -> None:
        values["define"]["hail_mass"].pop("transformation")
        values["define"]["cloud_water"].pop("transformation")
        values["define"]["hail_mass"].update(changes)
        del values["pretraining"]
        grid = {"resolution_deg": 11.25}
        targets = [TARGET, {"variable": "cloud_water", "level_hpa": 850}]
        values["task"] = {"name": "postprocessing", "grid": grid, "members": 2, "targets": targets}
        forecasts = {key: names for key, names in own.VARIABLES.items() if key != "static"}
        source = {"name": "ens10", "folder": "ens10", "spans": [{"start": "2017-03-01", "end": "2017-03-06"}]}
        values["forecasts"] = {"variables": forecasts, "members": [1, 2], "source": source}
        years = yaml.safe_load(yaml.safe_dump(values).replace("2020-", "2017-"))  # which ENS-10 has
        values |= {key: years[key] for key in ("source", "splits")}
        values |= {
            "baselines": ["emos"],
            "runs": {"full": {"methods": [{"name": "full"}], "start": "random"}},
        }

    return change


def test_targets_of_forecasts() -> None:
    found = Experiment.parse(values(postprocessing()))
    assert found.task.ensemble is not None
    assert found.task.ensemble.variables.row("hail_mass").minimum == 0
    assert found.task.ensemble.variables.define.keys() == {"hail_mass", "cloud_water"}
    assert found.inputs.all.define.keys() == own.DEFINE.keys()
    with pytest.raises(ValueError, match="predicts hail_mass, which is not defined everywhere; leave it out"):
        Experiment.parse(values(postprocessing(partial=True)))


def test_a_variable_that_is_not_defined_everywhere_may_be_an_input_of_forecasts() -> None:
    def change(values: dict[str, Any]) -> None:
        postprocessing()(values)
        values["define"]["wave_height"] = {"kind": "surface", "units": "m", "partial": True}
        values["forecasts"]["variables"]["surface"] = ["2m_temperature", "hail_mass", "wave_height"]

    found = Experiment.parse(values(change))
    assert found.inputs.all.row("wave_height").partial
    assert Jobs(found).download_forecasts("20170301-20170306").request.variables.row("wave_height").partial


def test_what_a_source_calls_it_reaches_its_jobs() -> None:
    found = Jobs(Experiment.parse(values(rename("hail_mass"))))
    (period,) = found.periods()
    download = found.download(period)
    assert isinstance(download.source, Local) and download.source.rename == {"x": "hail_mass"}
    assert type(download).parse(download.model_dump(mode="json")) == download


def test_a_placeholder_of_ones_own() -> None:
    def change(values: dict[str, Any]) -> None:
        define("fog", kind="surface", units="1", long_name="Fog")(values)
        values["placeholders"] = {"fog": 0.5}

    found = Jobs(Experiment.parse(values(change)))
    for spec in (found.pretrain(), found.report()):
        assert spec.fields.all.surface == ("2m_temperature", "hail_mass", "fog")
        assert spec.fields.row("fog").long_name == "Fog"
        assert type(spec).parse(spec.model_dump(mode="json")) == spec
