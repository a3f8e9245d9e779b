"""Report sections that only some experiments have. A section is one file and its name here."""

from collections.abc import Mapping, Sequence

from weatherpeft.fields.regions import NamedRegion
from weatherpeft.reporting.section import Section
from weatherpeft.reporting.sections.ensemble import EnsembleSection
from weatherpeft.reporting.sections.lead_times import LeadTimesSection
from weatherpeft.reporting.sections.precipitation import PrecipitationSection
from weatherpeft.reporting.sections.regions import RegionsSection

SECTIONS: dict[str, Section] = {
    "precipitation": PrecipitationSection(),
    "ensemble": EnsembleSection(),
    "lead_times": LeadTimesSection(),
}
"""Sections by the name with which a task asks for them."""


def sections_of(names: Sequence[str], regions: Mapping[str, NamedRegion]) -> list[Section]:
    """The sections of a report, in its order.

    Args:
        names: names of the sections that the task asks for.
        regions: regions of the experiment by name.

    Raises:
        ValueError: there is no section with one of the names.
    """
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise ValueError(f"report: no section {', '.join(unknown)}; known are {', '.join(SECTIONS)}")
    return [*(SECTIONS[name] for name in names), *([RegionsSection(regions)] if regions else [])]
