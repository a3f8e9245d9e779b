"""The generated JSON schema of the configuration."""

import pytest

from tests.workflow.workflow import ROOT
from weatherpeft.cli import main


def test_the_schema_is_of_this_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    message = "out of date; write it anew: weatherpeft schema > config/schema.json"
    assert (ROOT / "config/schema.json").read_text(encoding="utf-8") == capsys.readouterr().out, message
