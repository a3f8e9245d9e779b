"""The table of variables against ecCodes' own tables, which are ECMWF's."""

import eccodes
import pytest

from weatherpeft.fields.table import RELATED, VARIABLES, Variable
from weatherpeft.sources.formats.units import unit_conversion


@pytest.mark.parametrize("row", VARIABLES.values(), ids=lambda row: row.name)
def test_short_name_and_units_are_those_of_the_param_id(row: Variable) -> None:
    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib1")
    try:
        eccodes.codes_set(handle, "paramId", row.param_id)
        name, units = (eccodes.codes_get(handle, key) for key in ("shortName", "units"))
    finally:
        eccodes.codes_release(handle)
    assert name == row.short_name
    assert unit_conversion(units, row.units) == (1.0, 0.0)


def test_what_an_embedding_starts_from_is_of_the_same_kind_and_has_one() -> None:
    for name, other in RELATED.items():
        assert VARIABLES[name].kind == VARIABLES[other].kind, name
        assert other not in RELATED, name


def test_every_variable_has_a_plausible_range() -> None:
    assert [name for name, row in VARIABLES.items() if row.plausible is None] == []
    for row in VARIABLES.values():
        low, high = row.plausible_at(500 if row.kind == "atmospheric" else None)
        assert low < high and (row.minimum is None or row.minimum < high), row.name
