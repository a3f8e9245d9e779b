"""A training loop of one's own gives the weights of the workflow's run, bit for bit."""

import copy
from pathlib import Path
from typing import Any

import aurora
import peft
import pytest
import torch
from torch import Tensor

import weatherpeft
from tests.stages.test_training_stages import SMOOTHED, SPLITS, Project
from tests.tuned.plain_runs import (
    TASK,
    batches,
    fields_of,
    make,
    model_spec,
    samples_of,
    upstream_inputs,
    upstream_model,
)
from weatherpeft.peft.sfas.fisher_store import read_fisher
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.training.checkpoint import load_tensors
from weatherpeft.training.loop import single_batches
from weatherpeft.tuned.config import AdapterConfig
from weatherpeft.tuned.folder import write_folder
from weatherpeft.tuned.layout import ENDS_FILE
from weatherpeft.tuned.layout import METHODS as METHODS_FILE
from weatherpeft.tuned.own_loop import attach, fisher
from weatherpeft.tuned.parts import Parts

ROOT = Path(__file__).resolve().parent.parent.parent
WEATHERPEFT: list[dict[str, Any]] = [{"name": "tadp"}, {"name": "sfas", "fraction": 0.001}]
LORA: list[dict[str, Any]] = [{"name": "lora", "targets": ["qkv"], "learning_rate": 1e-2}]
RATE = 1e-3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    return make(tmp_path_factory.mktemp("results") / "test")


def documented() -> tuple[str, str]:
    """The methods and the loop of docs/use.md."""
    section = (ROOT / "docs/use.md").read_text().partition("## In your own training loop\n")[2]
    lines = [line[4:] for line in section.partition("This gives")[0].splitlines() if line.startswith("    ")]
    assert len(lines) <= 20
    return lines[0], "\n".join(lines[1:])


class OwnLoss:
    """The task's loss on what upstream's model returns."""

    def __init__(self, project: Project) -> None:
        self.scale = TASK.loss_scale(project.statistics, samples_of(project).frames.fields.measured)

    def __call__(self, prediction: aurora.Batch, batch: Batch) -> Tensor:
        return TASK.loss(fields_of(prediction, batch), batch.target, self.scale)


def same_tensors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("methods", [WEATHERPEFT, LORA], ids=["weatherpeft", "lora"])
def test_the_documented_loop_equals_the_workflows_run(
    made: tuple[Project, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, methods: list[dict[str, Any]]
) -> None:
    project, checkpoint = made
    run = project.finetune(
        tmp_path / "run", model_spec(project, *methods), checkpoint, learning_rate=RATE, clip_norm=1.0
    )
    first, loop = documented()
    names: dict[str, Any] = {}
    exec(first, names)
    assert names["methods"] == ["tadp", {"name": "sfas", "fraction": 0.001}]
    names |= {
        "methods": methods,
        "model": upstream_model(checkpoint),
        "samples": [(upstream_inputs(batch), batch) for batch in batches(project)],
        "loss_of": OwnLoss(project),
    }
    monkeypatch.chdir(tmp_path)
    exec(loop, names)
    expected = load_tensors(run / "tuned.safetensors")
    assert same_tensors(names["loop"].tuned.result(), expected)

    rebuilt = upstream_model(checkpoint)
    attach(rebuilt, methods, steps=0, seed=1).load(tmp_path / "tuned")
    inputs = names["samples"][0][0]
    with torch.inference_mode():
        found, forecast = rebuilt.eval()(inputs), names["model"].eval()(inputs)
    assert all(torch.equal(field, forecast.surf_vars[name]) for name, field in found.surf_vars.items())


def test_peft_loads_what_a_loop_saved(made: tuple[Project, Path], tmp_path: Path) -> None:
    """Into upstream's backbone, with encoder and decoder in a file of their own."""
    project, checkpoint = made
    model = upstream_model(checkpoint)
    loop = attach(model, LORA, steps=2)
    train(project, model, loop, loop.optimizer(), range(2))
    loop.save(tmp_path / "tuned")
    other: Any = upstream_model(checkpoint)
    with torch.no_grad():
        for name, tensor in load_tensors(tmp_path / "tuned" / ENDS_FILE).items():
            other.get_parameter(name).copy_(tensor)
    peft.PeftModel.from_pretrained(other.backbone, str(tmp_path / "tuned"))
    inputs = upstream_inputs(batches(project)[0])
    with torch.inference_mode():
        found, expected = other.eval()(inputs).surf_vars, model.eval()(inputs).surf_vars
    assert all(torch.equal(field, expected[name]) for name, field in found.items())


def test_a_saved_folder_is_checked(made: tuple[Project, Path], tmp_path: Path) -> None:
    _, checkpoint = made
    loop = attach(upstream_model(checkpoint), LORA, steps=0)
    loop.save(tmp_path / "tuned")
    with pytest.raises(ValueError, match=r"was tuned on a model of one's own: .*attach\(model, .*'lora'"):
        weatherpeft.load(tmp_path / "tuned")
    with pytest.raises(ValueError, match="tuned: is there already"):
        loop.save(tmp_path / "tuned")
    (tmp_path / "tuned" / METHODS_FILE).write_bytes(b"")
    with pytest.raises(ValueError, match=f"{METHODS_FILE}: damaged or changed"):
        loop.load(tmp_path / "tuned")
    with pytest.raises(ValueError, match="neither an adapter nor a run"):
        loop.load(tmp_path)


def test_the_workflows_run_is_loaded_into_an_own_model(made: tuple[Project, Path], tmp_path: Path) -> None:
    project, checkpoint = made
    spec = model_spec(project, *WEATHERPEFT)
    run = project.finetune(tmp_path / "run", spec, checkpoint, learning_rate=RATE)
    tensors = load_tensors(run / "tuned.safetensors")
    none = Fields({}, {})
    config = AdapterConfig(
        format=1, version="0", model=spec, base=None, precision="float32", regridding="conservative",
        source="toy", synthetic=True, experiment="small", label="run", trained_on=(), counts={}, packages={},
    )  # fmt: skip
    write_folder(Parts(config, tensors, {}, none, none), "a card", tmp_path / "adapter")
    loop = attach(upstream_model(checkpoint), WEATHERPEFT, steps=0)
    loop.load(tmp_path / "adapter")
    assert same_tensors(loop.tuned.result(), tensors)


def train(
    project: Project, model: Any, loop: Any, optimizer: Any, steps: range, accumulation: int = 1
) -> None:
    loss_of, given = OwnLoss(project), batches(project)
    model.train()
    for step in steps:
        loop.schedule(optimizer)
        optimizer.zero_grad()
        for _ in range(accumulation):
            batch = given[step]
            (loss_of(model(upstream_inputs(batch)), batch) / accumulation).backward()
        optimizer.step()
        loop.step()


def test_a_loop_goes_on_from_its_state(made: tuple[Project, Path]) -> None:
    project, checkpoint = made
    models = [upstream_model(checkpoint) for _ in range(2)]
    loops = [attach(model, WEATHERPEFT, steps=3) for model in models]
    optimizers = [loop.optimizer() for loop in loops]
    train(project, models[0], loops[0], optimizers[0], range(2))
    loops[1].load_state_dict(loops[0].state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))  # torch does not copy it
    assert loops[1].done == 2
    for model, loop, optimizer in zip(models, loops, optimizers, strict=True):
        train(project, model, loop, optimizer, range(2, 3))
    assert same_tensors(loops[1].tuned.result(), loops[0].tuned.result())
    with pytest.raises(ValueError, match="all 3 steps are done"):
        loops[0].step()


def test_the_fisher_information_is_that_of_the_stage(made: tuple[Project, Path], tmp_path: Path) -> None:
    project, checkpoint = made
    stage = project.make_fisher(tmp_path / "stage", checkpoint, task=TASK)
    model, loss_of = upstream_model(checkpoint), OwnLoss(project)

    def loss(model: aurora.Aurora, batch: Batch) -> Tensor:
        return loss_of(model(upstream_inputs(batch)), batch)

    own = fisher(model, single_batches(samples_of(project), 2, 0), loss, tmp_path / "own")
    found, expected = (dict(read_fisher(path / "fisher.zarr")) for path in (own, stage))
    assert same_tensors(found, expected)
    with pytest.raises(ValueError, match="sfas needs the Fisher information: give fisher="):
        attach(model, [SMOOTHED], steps=3)
    loop = attach(model, [SMOOTHED], steps=3, fisher=own)
    train(project, model, loop, loop.optimizer(), range(1))
    assert SPLITS.train.periods and loop.tuned.result()


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["bitfitt"], "methods: .*bitfit"),
        ([{"name": "sfas", "fractions": 1}], r"methods: .*fractions.*unknown key"),
        (["sfas", "tadp"], "put it last"),
        ([], "methods"),
    ],
)
def test_methods_are_refused_as_in_a_configuration(
    made: tuple[Project, Path], methods: list[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        attach(upstream_model(made[1]), methods, steps=3)
    assert "\n" not in str(caught.value)


def test_numbers_and_models_are_refused(made: tuple[Project, Path]) -> None:
    model = upstream_model(made[1])
    with pytest.raises(ValueError, match="warmup_steps 3 must be fewer than steps 3"):
        attach(model, ["bitfit"], steps=3, warmup_steps=3)
    with pytest.raises(ValueError, match=r"expected an aurora\.Aurora of the upstream package, found Linear"):
        attach(torch.nn.Linear(1, 1), ["bitfit"], steps=3)
    model.configure_activation_checkpointing()
    with pytest.raises(ValueError, match="use recompute=True"):
        attach(model, ["bitfit"], steps=3)


def test_groups_have_the_rates_of_the_methods_and_a_rate_of_ones_own_scales_them(
    made: tuple[Project, Path],
) -> None:
    loop = attach(upstream_model(made[1]), LORA, steps=3, learning_rate=RATE)
    rates = {group["lr"] for group in loop.parameter_groups()}
    assert rates == {RATE, 1e-2}
    seen: list[float] = []
    (adapter,) = loop.tuned.adapters
    adapter.step = lambda step, learning_rate: seen.append(learning_rate)  # type: ignore[method-assign]
    loop.step(RATE / 2)
    assert seen == [pytest.approx(5e-3)]


def test_a_lora_of_upstreams_is_folded_when_methods_are_attached(made: tuple[Project, Path]) -> None:
    from tests.backbones.small_aurora import small_batch
    from tests.backbones.test_aurora import upstream_batch
    from tests.backbones.test_published import upstream_model as with_lora

    model, batch = with_lora(use_lora=True), upstream_batch(small_batch())
    with torch.inference_mode():
        before = model(batch).surf_vars["2t"]
    attach(model, ["bitfit"], steps=3)
    with torch.inference_mode():
        after = model.eval()(batch).surf_vars["2t"]
    assert (after - before).abs().max() < 1e-5 * before.std()
    assert not any("lora" in name for name in model.state_dict())
    with pytest.raises(ValueError, match="lora_mode 'from_second': expected 'single'"):
        attach(with_lora(use_lora=True, lora_mode="from_second"), ["bitfit"], steps=3)
