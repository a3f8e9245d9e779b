"""``weatherpeft merge``: from a run to a file that upstream loads."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.stages.test_training_stages import Project
from tests.tuned.plain_runs import TASK, batches, fields_of, make, model_spec, upstream_inputs
from weatherpeft.cli import main
from weatherpeft.training.checkpoint import load_tensors
from weatherpeft.training.tuning import tuned_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path, Path]:
    """A project, its checkpoint, and a run with LoRA."""
    project, checkpoint = make(tmp_path_factory.mktemp("results") / "test")
    run = project.finetune(
        project.root / "runs" / "lora-seed0", model_spec(project, {"name": "lora"}), checkpoint
    )
    return project, checkpoint, run


def test_a_run_becomes_a_file_that_the_printed_lines_load(
    made: tuple[Project, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, checkpoint, run = made
    output = tmp_path / "merged" / "aurora.ckpt"
    command = ["merge", "--run", str(run), "--base", str(checkpoint), "--output", str(output)]
    assert main(command) == 0
    names: dict[str, Any] = {}
    exec(capsys.readouterr().out, names)
    spec = model_spec(project, {"name": "lora"})
    tuned = tuned_model(spec, torch.device("cpu"), checkpoint, statistics=project.statistics)
    tuned.load_result(load_tensors(run / "tuned.safetensors"))
    batch = batches(project)[0]
    with torch.inference_mode():
        expected = tuned.model.eval()(batch).surface["2m_temperature"]
        found = fields_of(names["model"].eval()(upstream_inputs(batch)), batch).surface["2m_temperature"]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert [path.name for path in output.parent.iterdir()] == ["aurora.ckpt"]
    assert main(command) == 1
    assert "is there already" in capsys.readouterr().err


def test_what_is_refused_is_one_line(
    made: tuple[Project, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, checkpoint, run = made
    other = tmp_path / "other.ckpt"
    other.write_bytes(checkpoint.read_bytes()[:-1])
    residual = model_spec(project, {"name": "full"}, task=TASK.model_copy(update={"residual": True}))
    runs = {
        "tadp": project.finetune(
            project.root / "runs/tadp", model_spec(project, {"name": "tadp"}), checkpoint
        ),
        "residual": project.finetune(project.root / "runs/residual", residual, checkpoint),
    }
    for arguments, message in (
        ([str(run), "--base", str(other)], "not the weights that"),
        ([str(run), "--base", "nowhere.ckpt"], "nowhere.ckpt: not the weights that"),
        ([str(project.statistics)], "not a run of this version"),
        ([str(runs["tadp"])], "tadp: its prompts are no weights of an attention, so it cannot be merged"),
        ([str(runs["residual"]), "--base", str(checkpoint)], "the model: it predicts the"),
    ):
        assert main(["merge", "--output", str(tmp_path / "no.ckpt"), "--run", *arguments]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert message in error, error
    assert not (tmp_path / "no.ckpt").exists()
