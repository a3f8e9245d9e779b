"""Every method of the union keeps its promises, and a check fails for a method that does not."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter

from tests.contracts.broken_methods import FAULTS, Broken
from tests.contracts.peft_checks import CHECKS, Outcome, check_processes, label, outcomes_of_rank
from tests.training.processes import run
from weatherpeft.interfaces import PeftMethod
from weatherpeft.peft import AnyMethod

METHODS: TypeAdapter[Any] = TypeAdapter(AnyMethod)
HUGGINGFACE: list[dict[str, Any]] = [
    {"name": "huggingface", "type": "ln_tuning", "targets": ("norm",)},
    {"name": "huggingface", "type": "oft"},
    {"name": "huggingface", "type": "shira", "options": {"r": 4}},
    {"name": "huggingface", "type": "vera"},
]
"""Trained in place, a matrix inverse, sparse entries of the weights, fixed random tensors."""
SEVERAL = {"huggingface": HUGGINGFACE, "dora": [{"name": "dora"}, {"name": "dora", "magnitude": "input"}]}
"""Methods of which some option makes another method."""
ALL: list[PeftMethod] = [
    METHODS.validate_python(values)
    for kind in get_args(get_args(AnyMethod)[0])
    for name in get_args(kind.model_fields["name"].annotation)
    for values in SEVERAL.get(name, [{"name": name}])
]
VERA = HUGGINGFACE[-1]
BROKEN: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "start": [
        ("starts_elsewhere", {"name": "lora"}),
        ("starts_elsewhere", {"name": "adaptformer"}),
        ("starts_elsewhere", {"name": "ssf"}),
    ],
    "frozen": [
        ("decays_what_is_frozen", {"name": "light_decoder"}),
        ("writes_to_the_weights", {"name": "lora"}),
        ("hides_a_parameter", {"name": "vpt"}),
        ("hides_a_parameter", {"name": "bitfit"}),
    ],
    "result": [
        ("leaves_out_a_tensor", VERA),
        ("rounds_the_result", {"name": "tadp"}),
        ("keeps_the_start", {"name": "bitfit"}),
        ("keeps_the_start", {"name": "sfas"}),
    ],
    "count": [
        ("counts_one_more", {"name": "sfas"}),
        ("counts_one_more", {"name": "light_decoder"}),
        ("counts_tensors_that_stay", VERA),
        ("counts_its_own_alone", {"name": "lora"}),
    ],
    "bfloat16": [
        ("multiplies_in_float32", {"name": "lora"}),
        ("overflows", {"name": "adaptformer"}),
        ("vanishes", {"name": "bitfit"}),
    ],
    "recomputation": [
        ("draws_anew", {"name": "full"}),
        ("counts_calls", {"name": "lora"}),
        ("draws_anew", {"name": "sfas"}),
    ],
    "rollout": [
        ("draws_anew", {"name": "full"}),
        ("counts_calls", {"name": "lora"}),
        ("draws_anew", {"name": "sfas"}),
    ],
    "accumulation": [
        ("looks_at_the_last_pass", {"name": "lora"}),
        ("looks_at_the_last_pass", {"name": "full"}),
        ("mixes_samples", {"name": "bitfit"}),
    ],
    "processes": [
        ("starts_by_rank", {"name": "lora"}),
        ("steps_by_its_own_gradient", {"name": "adaptformer"}),
        ("scales_by_rank", {"name": "tadp"}),
    ],
}
CASES = [
    pytest.param(
        check, Broken(fault=fault, method=METHODS.validate_python(values)), id=f"{check}-{fault}-{n}"
    )
    for check, faults in BROKEN.items()
    for n, (fault, values) in enumerate(faults)
]
Two = list[dict[str, Outcome]]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    """What two processes make of all methods, by rank and by method."""
    folder = tmp_path_factory.mktemp("two")
    broken = [case.values[1] for case in CASES if case.values[0] == "processes"]
    assert run(2, outcomes_of_rank, [*ALL, *broken], folder) == [0, 0]
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("method", ALL, ids=label)
class TestEveryMethod:
    @pytest.mark.parametrize("check", CHECKS)
    def test_alone(self, method: PeftMethod, check: str) -> None:
        CHECKS[check](method)

    def test_in_two_processes(self, method: PeftMethod, two: Two) -> None:
        check_processes(method, two)


@pytest.mark.parametrize(("check", "method"), CASES)
def test_a_broken_method_fails(check: str, method: PeftMethod, two: Two) -> None:
    with pytest.raises(AssertionError):
        if check == "processes":
            check_processes(method, two)
        else:
            CHECKS[check](method)


def test_each_check_is_seen_to_fail_for_three_methods() -> None:
    assert BROKEN.keys() == {*CHECKS, "processes"}
    assert all(len({str(values) for _, values in faults}) >= 3 for faults in BROKEN.values())
    assert {fault for faults in BROKEN.values() for fault, _ in faults} == FAULTS.keys()
