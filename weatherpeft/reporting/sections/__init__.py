"""Sections of the report that only some experiments have: a section is one file and its name here."""

from collections.abc import Mapping, Sequence

from weatherpeft.fields.regions import NamedRegion
from weatherpeft.reporting.section import Section
from weatherpeft.reporting.sections.ensemble import EnsembleSection
from weatherpeft.reporting.sections.precipitation import PrecipitationSection
from weatherpeft.reporting.sections.regions import RegionsSection

SECTIONS: dict[str, Section] = {"precipitation": PrecipitationSection(), "ensemble": EnsembleSection()}
"""By the name that a task asks for them."""


def sections_of(names: Sequence[str], regions: Mapping[str, NamedRegion]) -> list[Section]:
    """The sections of a report, in its order.

    Args:
        names: that the task asks for.
        regions: of the experiment.

    Raises:
        ValueError: there is no section of a name.
    """
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise ValueError(f"report: no section {', '.join(unknown)}; known are {', '.join(SECTIONS)}")
    return [*(SECTIONS[name] for name in names), *([RegionsSection(regions)] if regions else [])]
