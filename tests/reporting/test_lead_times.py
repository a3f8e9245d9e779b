"""The RMSE by lead time in the report."""

import numpy as np

from weatherpeft.reporting.scores import Channel, Row, featured, headline, ordered, scored_channels
from weatherpeft.reporting.sections.lead_times import LeadTimesSection, lead_time_tables
from weatherpeft.tasks.forecasting import Forecasting

FIELDS = [("2m_temperature", None), ("specific_humidity", 850), ("temperature", 850)]
LEADS = Forecasting.parse(
    {"name": "forecasting", "grid": {"resolution_deg": 11.25}, "steps": 3}
).window.target_hours


def row(name: str, rmse: list[float], kind: str = "method") -> Row:
    values = np.array(rmse)
    return Row(name, kind, "pretrained", "", False, 1, (), (), values, None, 0 * values)  # type: ignore[arg-type]


def channels() -> list[Channel]:
    return scored_channels(FIELDS, LEADS)


ROWS = [
    row("steady", [2.0, 2.0, 2.0, 2e-3, 2e-3, 2e-3, 5.0, 5.0, 5.0], "baseline"),
    row("growing", [1.0, 3.0, 4.0, 1e-3, 3e-3, 4e-3, 1.0, 2.0, 3.0]),
]


def test_tables_show_the_longest_lead_time_and_maps_the_first() -> None:
    labels = [channel.label for channel in channels()]
    assert [labels[index] for index in headline(channels())] == ["2t+18h", "t850+18h", "q850+18h"]
    assert [labels[index] for index in featured(channels())] == ["t850+6h", "2t+6h"]
    other = row("another", [1.0] * 6 + [9.0, 9.0, 2.0])
    assert [each.name for each in ordered([*ROWS, other], channels())] == ["steady", "growing", "another"]


def test_each_field_has_a_line_a_row_and_a_column_a_lead_time() -> None:
    tables = {table["field"]: table for table in lead_time_tables(ROWS, channels())}
    assert list(tables) == ["2t", "t850", "q850"]
    assert tables["2t"]["leads"] == [6, 12, 18] and tables["q850"]["units"] == "g kg-1"
    texts = {line["name"]: [cell["text"] for cell in line["cells"]] for line in tables["q850"]["lines"]}
    assert texts == {"steady": ["2", "2", "2"], "growing": ["1", "3", "4"]}
    best = {line["name"]: [cell["best"] for cell in line["cells"]] for line in tables["2t"]["lines"]}
    assert best == {"steady": [False, True, True], "growing": [True, False, False]}


def test_the_text_is_aligned() -> None:
    first, *_ = LeadTimesSection().text(ROWS, channels())
    assert first.splitlines() == [
        "RMSE of 2t by lead time, K",
        "lead time      6 h     12 h     18 h",
        "---------  -------  -------  -------",
        "steady           2        2        2",
        "growing          1        3        4",
    ]


def test_one_lead_time_has_no_section() -> None:
    single = scored_channels(FIELDS, (6,))
    rows = [row("only", [1.0, 1.0, 1.0])]
    assert lead_time_tables(rows, single) == [] == LeadTimesSection().text(rows, single)
    grid = Forecasting.parse({"name": "forecasting", "grid": {"resolution_deg": 11.25}}).grid
    assert LeadTimesSection().content(rows, single, grid) is None


def test_the_curves_are_an_image() -> None:
    grid = Forecasting.parse({"name": "forecasting", "grid": {"resolution_deg": 11.25}}).grid
    content = LeadTimesSection().content(ROWS, channels(), grid)
    assert content and content["curves"].png.startswith(b"\x89PNG")
    assert "growing" in content["curves"].text
