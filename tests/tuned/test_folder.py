"""Adapters as folders: every method comes back bit for bit, and HF peft loads its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.backbones.small_aurora import FIELDS, small_aurora, small_batch, small_spec
from tests.contracts.test_peft_contract import LISTS, Training, label, variants
from tests.peft.test_huggingface import SMALL
from weatherpeft.fields.grid import Grid
from weatherpeft.peft.huggingface import OPTIONS
from weatherpeft.samples.batch import Fields
from weatherpeft.tasks.forecasting import Forecasting
from weatherpeft.training.model import TunedModelSpec
from weatherpeft.tuned.config import CONFIG, AdapterConfig, Base
from weatherpeft.tuned.folder import read_folder, write_folder
from weatherpeft.tuned.layout import CARD, ENDS_FILE, METHODS, STATIC
from weatherpeft.tuned.model import Tuned, load
from weatherpeft.tuned.parts import Parts

ROOT = Path(__file__).resolve().parent.parent.parent
WEATHERPEFT = ({"name": "tadp"}, {"name": "sfas"})
TARGETS = {"ln_tuning": {"targets": ("norm",)}}
LISTS_OF_METHODS = [
    *((method,) for method in variants() if method["name"] != "huggingface"),
    *(
        ({"name": "huggingface", "type": kind, "options": SMALL.get(kind, {})} | TARGETS.get(kind, {}),)
        for kind in OPTIONS
    ),
    WEATHERPEFT,
    ({"name": "bitfit"}, {"name": "lora", "targets": ("qkv",)}),
    ({"name": "lora"}, {"name": "tadp"}, {"name": "sfas"}),
]
OF_PEFT = [
    methods
    for methods in LISTS_OF_METHODS
    if any(method["name"] in ("lora", "lora_plus", "huggingface") for method in methods)
    or (methods[0]["name"] == "dora" and methods[0].get("magnitude") != "input")
]
OF_PEFT = [methods for methods in OF_PEFT if methods[0].get("type") != "ln_tuning"]


def named(methods: tuple[dict[str, Any], ...]) -> str:
    return methods[0].get("type", label(methods))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "small.ckpt"
    small_aurora().save(path)
    return path


def parts_of(base: Path, *methods: dict[str, Any]) -> tuple[Parts, torch.Tensor]:
    """A model after two steps, and its prediction."""
    from hashlib import sha256

    training = Training(*methods)
    for step in range(2):
        training.step(step)
    task = Forecasting(name="forecasting", grid=Grid(resolution_deg=11.25))
    values = {"backbone": small_spec(embed_dim=32), "fields": FIELDS, "task": task, "pretrained": True}
    spec = TunedModelSpec(**values, methods=LISTS.validate_python(methods), seed=0)  # type: ignore[arg-type]
    config = AdapterConfig(
        format=1,
        version="0",
        model=spec,
        base=Base(sha256=sha256(base.read_bytes()).hexdigest()),
        precision="float32",
        regridding="conservative",
        source="toy",
        synthetic=True,
        experiment="small",
        label="run-seed0",
        trained_on=("2001",),
        counts=training.tuned.counts(),
        packages={},
    )
    static = {"land_sea_mask": torch.rand(16, 32).numpy()}
    none = Fields({}, {})
    parts = Parts(config, training.tuned.result(), static, none, none)
    return parts, predicted(training.tuned.model)


def predicted(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(small_batch()).channels()
    return found


FRESH = """
import sys, torch, weatherpeft
from tests.backbones.small_aurora import small_batch

base, *folders, output = sys.argv[1:]
found = []
for folder in folders:
    tuned = weatherpeft.load(folder, base=base, device="cpu")
    tuned.save(folder + "-again")
    with torch.inference_mode():
        found.append(tuned.tuned.model.eval()(small_batch()).channels())
torch.save(found, output)
"""


def test_every_method_comes_back_bit_for_bit_in_a_fresh_process(base: Path, tmp_path: Path) -> None:
    """From the pretrained weights and the folder alone: the forecast, and the folder again."""
    plain, models, expected = predicted(small_aurora()), [], []
    for number, methods in enumerate(LISTS_OF_METHODS):
        parts, forecast = parts_of(base, *methods)
        write_folder(parts, "a card", tmp_path / f"{number}")
        models.append(parts.config.model)
        expected.append(forecast)
    folders = [tmp_path / f"{number}" for number in range(len(expected))]
    words = [sys.executable, "-c", FRESH, str(base), *map(str, folders), str(tmp_path / "found.pt")]
    subprocess.run(words, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found = torch.load(tmp_path / "found.pt")
    for methods, folder, model, *forecasts in zip(
        LISTS_OF_METHODS, folders, models, found, expected, strict=True
    ):
        assert torch.equal(*forecasts) and not torch.equal(forecasts[0], plain), named(methods)
        again = folder.with_name(f"{folder.name}-again")
        assert read_folder(again).config.model == model, named(methods)
        for name in (METHODS, ENDS_FILE, STATIC):
            path = folder / name
            assert not path.exists() or (again / name).read_bytes() == path.read_bytes(), named(methods)


@pytest.mark.parametrize("methods", OF_PEFT, ids=named)
def test_peft_loads_its_own_methods(base: Path, tmp_path: Path, methods: tuple[dict[str, Any], ...]) -> None:
    """Into the backbone; encoder and decoder are in a file of their own."""
    hf = [method for method in methods if method["name"] not in ("tadp", "sfas", "bitfit")]
    parts, expected = parts_of(base, *(hf if len(methods) > 1 else methods))
    write_folder(parts, "a card", tmp_path / "adapter")
    model: Any = small_aurora()
    with torch.no_grad():
        for name, tensor in load_file(tmp_path / "adapter" / ENDS_FILE).items():
            model.get_parameter(f"model.{name}").copy_(tensor)
    peft.PeftModel.from_pretrained(model.backbone, str(tmp_path / "adapter"))
    assert torch.equal(predicted(model), expected)


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    write_folder(parts_of(base, *WEATHERPEFT)[0], "a card", tmp_path / "adapter")
    return tmp_path / "adapter"


def test_encoder_and_decoder_lie_apart(adapter: Path) -> None:
    ends, rest = load_file(adapter / ENDS_FILE), load_file(adapter / METHODS)
    assert {name.partition(".")[0] for name in ends} == {"encoder", "decoder"}
    assert {name.partition(".")[0] for name in rest} == {"0", "1"}
    assert all(tensor.dtype in (torch.float32, torch.uint8) for tensor in rest.values())


def test_a_card_may_be_written_on(base: Path, adapter: Path) -> None:
    (adapter / CARD).write_text("License: CC BY 4.0")
    assert isinstance(load(adapter, base=base), Tuned)


def swap_weights(adapter: Path) -> None:
    tensors = load_file(adapter / METHODS)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, adapter / METHODS)


def change(adapter: Path, **changes: Any) -> None:
    values = json.loads((adapter / CONFIG).read_text())
    values["weatherpeft"] |= changes
    (adapter / CONFIG).write_text(json.dumps(values))


def flip(adapter: Path) -> None:
    content = bytearray((adapter / ENDS_FILE).read_bytes())
    content[-3] ^= 1
    (adapter / ENDS_FILE).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (swap_weights, f"{METHODS}: damaged or changed, its bytes are not those that {CONFIG} states"),
        (flip, f"{ENDS_FILE}: damaged or changed"),
        (lambda adapter: (adapter / STATIC).unlink(), f"{STATIC}: missing; {CONFIG} lists it"),
        (
            lambda adapter: (adapter / "normalization.safetensors").touch(),
            "normalization.safetensors: foreign",
        ),
        (lambda adapter: (adapter / CONFIG).write_text("{}"), f"{CONFIG}: expected an adapter"),
        (lambda adapter: (adapter / CONFIG).write_text("no"), f"{CONFIG}: expected an adapter"),
        (lambda adapter: change(adapter, format=9), f"{CONFIG}: expected format 1, found 9, of version 0"),
        (
            lambda adapter: change(adapter, files={"../up.safetensors": "0" * 64}),
            f"{CONFIG}: expected files among .*found ../up",
        ),
    ],
)
def test_what_was_changed_is_refused(base: Path, adapter: Path, damage: Any, message: str) -> None:
    damage(adapter)
    with pytest.raises(ValueError, match=message):
        load(adapter, base=base)


def test_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    small_aurora(depth=2).save(tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="other.ckpt: expected the checkpoint SHA-256 .*, found SHA-256"):
        load(adapter, base=tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="needs the checkpoint that it was tuned from: SHA-256 .*give it as"):
        load(adapter)
    with pytest.raises(ValueError, match="no.ckpt: no such file; expected the checkpoint"):
        load(adapter, base=tmp_path / "no.ckpt")


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder, and no repository of the Hub"):
        load(tmp_path / "none")
    with pytest.raises(ValueError, match="weather/model: expected the full hash of a commit"):
        load("weather/model", revision="main")
    with pytest.raises(ValueError, match="provenance.json"):
        load(tmp_path)


def test_a_folder_is_not_written_over(base: Path, adapter: Path) -> None:
    with pytest.raises(ValueError, match="adapter: is there already"):
        load(adapter, base=base).save(adapter)
    assert read_folder(adapter).config.label == "run-seed0"
