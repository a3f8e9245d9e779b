"""What an experiment can take from some files: variables, levels, whole days and the grid."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from weatherpeft.fields.variables import VARIABLES, VariableSet
from weatherpeft.sources.formats.fields import Layout, in_words, listed
from weatherpeft.sources.formats.files import sniff
from weatherpeft.sources.formats.grib import grib_contents
from weatherpeft.sources.formats.inventory import Contents, Held, Inventory
from weatherpeft.sources.formats.inventory_cache import Times
from weatherpeft.sources.formats.netcdf import netcdf_contents
from weatherpeft.sources.local import Local
from weatherpeft.spec import Period
from weatherpeft.starting.own import defined, together

LISTED_FILES = 20
"""Most files that are searched for variables that the table does not have."""
STEPS = (1, 2, 3, 4, 6, 8, 12, 24)
"""Hours from one time to the next that make whole days."""

Place = tuple[str, int | None]
"""A variable and its pressure level in hPa."""


@dataclass(frozen=True)
class Found:
    """What an experiment takes.

    Attributes:
        variables: fields that all its times have.
        members: numbers of ensemble members; empty where there are not several.
        step_hours: hours from one time to the next.
        start: first whole day.
        end: last whole day, without a gap before it.
        layout: grid of the fields.
        left_out: lines about what the files hold beside that.
    """

    variables: VariableSet
    members: tuple[int, ...]
    step_hours: int
    start: date
    end: date
    layout: Layout
    left_out: tuple[str, ...]

    @property
    def fields(self) -> int:
        """Number of fields of a sample."""
        return len(self.variables.channels()) + len(self.variables.static)


def find(patterns: Sequence[str]) -> Found:
    """Look into the headers of files for what an experiment can take.

    Args:
        patterns: files or glob patterns (see ``Local.paths``).

    Raises:
        ValueError: a pattern matches no file, a file cannot be read, or there is no field of the table of
            variables on whole days. The message names the file or says what there is.
    """
    anytime = Period(start=date(1, 1, 1), end=date(1, 1, 1))
    files = Local(name="local", paths=tuple(patterns), span=anytime).files()
    table = _set(_usual())
    own, undefined = defined(files[:LISTED_FILES], table)
    contents, looked_for, left_out = _read(files, together(table, own))
    left_out += undefined
    unknown = listed(list(_unknown(files, looked_for)))
    held = [each for one in contents for each in one.held]
    fields = [each for each in held if looked_for.row(each.variable).kind != "static"]
    if not fields:
        raise ValueError(f"{_named(files)}: no field that can be used; the files hold {unknown}")
    layout = _most([each.layout for each in fields])
    left_out += [
        f"{each.variable}: on the grid {each.layout}" for each in held if not each.layout.matches(layout)
    ]
    fields = [each for each in fields if each.layout.matches(layout)]
    static = {
        each.variable
        for each in held
        if looked_for.row(each.variable).kind == "static" and each.layout.matches(layout)
    }
    members = tuple(sorted({each.member for each in fields if each.member is not None}))
    places = _places(fields, members)
    times = _most_times(places.values())
    step, start, end, gap = _days(_named(files), times)
    left_out += [
        f"{_label(place)}: {in_words(own)}" for place, own in places.items() if not np.isin(times, own).all()
    ]
    whole = [place for place, own in places.items() if np.isin(times, own).all()]
    variables, others = _chosen(looked_for, whole, static)
    left_out += [f"{_label(place)}: the other variables have other levels" for place in others]
    left_out += [gap] if gap else []
    left_out += [f"of unknown meaning: {unknown}"] if unknown and not undefined else []
    return Found(
        variables=variables,
        members=members if len(members) > 1 else (),
        step_hours=step,
        start=start,
        end=end,
        layout=layout,
        left_out=tuple(dict.fromkeys(left_out)),
    )


def _usual() -> list[str]:
    """The variables of the table that an experiment can take as they are."""
    return [
        row.name
        for row in VARIABLES.values()
        if row.kind != "accumulated" and not (row.sum_hours or row.forecast_hours or row.partial)
    ]


def _read(files: Sequence[Path], wanted: VariableSet) -> tuple[list[Contents], VariableSet, list[str]]:
    """The contents of files, the variables looked for, and why others could not be."""
    names = wanted.names
    contents = Inventory(wanted).read(files)
    faulty = [each for each in contents if each.fault or each.packed]
    if not faulty:
        return contents, wanted, []
    if packed := next((each.file for each in faulty if each.packed), None):
        raise ValueError(f"{packed}: is a ZIP archive; unpack it and give the files inside")
    again = [each.file for each in faulty]
    alone = {name: Inventory(wanted.only([name])).read(again) for name in names}
    faults = {name: next((each.fault for each in one if each.fault), "") for name, one in alone.items()}
    clean = [name for name in names if not faults[name]]
    for number, each in enumerate(faulty):
        if not any(alone[name][number].held for name in clean):
            raise ValueError(each.fault)
    left_out = [fault for fault in faults.values() if fault]
    return Inventory(wanted.only(clean)).read(files), wanted.only(clean), left_out


def _set(names: Iterable[str]) -> VariableSet:
    """Variables by kind; an inventory finds those on levels at any."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(VARIABLES[name].kind, []).append(name)
    return VariableSet.model_validate(
        {
            **{kind: tuple(found) for kind, found in kinds.items()},
            "levels_hpa": (500,) if "atmospheric" in kinds else (),
        }
    )


def _unknown(files: Sequence[Path], known: VariableSet) -> dict[str, None]:
    """What the first files hold beside some variables, by the names there."""
    found: dict[str, None] = {}
    for path in files[:LISTED_FILES]:
        kind = sniff(path)
        grib = kind == "GRIB"
        found |= dict.fromkeys(grib_contents(path, known) if grib else netcdf_contents(path, kind, known))
    return found


def _most(layouts: Sequence[Layout]) -> Layout:
    """The grid that most fields have."""
    groups: list[tuple[Layout, int]] = []
    for layout in layouts:
        number = next((i for i, (other, _) in enumerate(groups) if layout.matches(other)), None)
        if number is None:
            groups.append((layout, 1))
        else:
            groups[number] = (groups[number][0], groups[number][1] + 1)
    return max(groups, key=lambda group: group[1])[0]


def _places(fields: Sequence[Held], members: Sequence[int]) -> dict[Place, Times]:
    """The times of each variable and level that all members have."""
    times: dict[tuple[Place, int | None], list[Times]] = {}
    for each in fields:
        times.setdefault(((each.variable, each.level), each.member), []).append(each.times)
    whole = {key: np.unique(np.concatenate(parts)) for key, parts in times.items()}
    numbers = members if len(members) > 1 else (*members, None)
    found: dict[Place, Times] = {}
    for place in dict.fromkeys(place for place, _ in whole):
        own = [whole[place, number] for number in numbers if (place, number) in whole]
        complete = len(own) == len(members) or len(members) < 2
        if complete and (place[1] is None or type(place[1]) is int):
            together = own[0]
            for other in own[1:]:
                together = (
                    np.intersect1d(together, other) if len(members) > 1 else np.union1d(together, other)
                )
            found[place] = together
    return found


def _most_times(times: Iterable[Times]) -> Times:
    """The times that most fields have; of such that as many have, the most."""
    counts = Counter(tuple(each.tolist()) for each in times)
    found = max(counts, key=lambda each: (counts[each], len(each)), default=())
    return np.array(found, "datetime64[m]")


def _days(files: str, times: Times) -> tuple[int, date, date, str]:
    """The step in hours, the first and last of the longest run of whole days, and what lies beside it."""
    words = in_words(times)
    if times.size < 2:
        raise ValueError(f"{files}: expected whole days of times in equal steps, found {words}")
    steps = np.diff(times).astype(int)
    minutes = int(Counter(steps.tolist()).most_common(1)[0][0])
    if minutes % 60 or minutes // 60 not in STEPS:
        allowed = ", ".join(map(str, STEPS))
        raise ValueError(
            f"{files}: expected a time every {allowed} h, found {words}, most {minutes / 60:g} h apart"
        )
    step = minutes // 60
    whole = [
        day
        for day in np.unique(times.astype("datetime64[D]"))
        if np.isin(
            day.astype("datetime64[m]") + np.arange(0, 24, step) * np.timedelta64(60, "m"), times
        ).all()
    ]
    if not whole:
        raise ValueError(f"{files}: expected whole days every {step} h from 00 UTC on, found {words}")
    runs = np.split(np.array(whole), np.flatnonzero(np.diff(whole) > np.timedelta64(1, "D")) + 1)
    run = max(runs, key=len)
    start, end = run[0].item(), run[-1].item()
    taken = ((end - start) / timedelta(days=1) + 1) * 24 / step
    rest = times.size - int(taken)
    return step, start, end, f"{rest} times beside the longest run of whole days" if rest else ""


def _chosen(known: VariableSet, places: Sequence[Place], static: set[str]) -> tuple[VariableSet, list[Place]]:
    """Variables on the levels that give most fields, and what that leaves out."""
    levels: dict[str, set[int]] = {}
    for name, level in places:
        if level is not None:
            levels.setdefault(name, set()).add(level)
    common: set[int] = max(
        levels.values(),
        key=lambda one: len(one) * sum(one <= other for other in levels.values()),
        default=set(),
    )
    names = {name for name, own in levels.items() if own >= common}
    surface = {name for name, level in places if level is None}
    variables = known.only({*surface, *names, *static})
    others = [
        place
        for place in places
        if place[1] is not None and (place[0] not in names or place[1] not in common)
    ]
    return variables.model_copy(update={"levels_hpa": tuple(sorted(common))}), others


def _label(place: Place) -> str:
    return place[0] if place[1] is None else f"{place[0]} at {place[1]} hPa"


def _named(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more files"
