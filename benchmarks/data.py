"""From raw GRIB to the samples of a training: decode, regrid, write, read, and all of it.

    python benchmarks/data.py [--output table.json|table.csv]

Times are CPU seconds of the process, all its threads together, the least of some rounds; the ways of
doing the same take turns, so that they share what disturbs the machine. *Relative* is the reference's
time over a way's own, in the same run. Memory is the peak of a process of its own beyond what it held
before; what is freed goes back to the system at once. The fields are those of ``era5_like``.
"""

import argparse
import multiprocessing
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import xarray as xr
import zarr
from era5_like import FIELDS, LEVELS, Maker
from table import machine, save, show

from weatherpeft.artifacts import catalog, store
from weatherpeft.artifacts.field_store import FieldWriter, StoredFields, shard_times
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.plausible import check_field
from weatherpeft.fields.regridding import Regridder
from weatherpeft.fields.variables import VARIABLES, channel_label
from weatherpeft.sources.formats.grib import grib_fields
from weatherpeft.sources.toy.grib import GribFile
from weatherpeft.spec import Spec
from weatherpeft.stages.pack import PackSpec, pack
from weatherpeft.stages.regrid import RegridSpec, regrid
from weatherpeft.training.freed_memory import give_freed_memory_back

MIB = 2**20
COARSE = Grid(resolution_deg=5.625)
FIELDS_A_YEAR = len(FIELDS.channels()) * 4 * 365.25
START = datetime(2007, 1, 1)
Way = TypeVar("Way")


class Noted(Spec):
    """The spec of an artifact that a benchmark makes."""

    note: str


def write_grib(folder: Path, grid: Grid, times: int) -> Path:
    """Six-hourly fields from 2007 on, one file at the surface and one on pressure levels, as an artifact."""
    maker = Maker(grid)
    like: Any = SimpleNamespace(
        shape=grid.shape, longitudes_deg=grid.longitude, resolution_deg=grid.resolution_deg
    )
    with store.artifact(folder, Noted(note="raw"), "weatherpeft.spec") as directory:
        for names, levels in ((FIELDS.surface, (None,)), (FIELDS.atmospheric, LEVELS)):
            on_levels = levels != (None,)
            with GribFile(directory / f"{on_levels}.grib", like, on_pressure_levels=on_levels) as file:
                for step in range(times):
                    for name in names:
                        for level in levels:
                            param_id = VARIABLES[name].param_id
                            when = START + timedelta(hours=6 * step)
                            file.analysis(param_id, when, maker.field(name, level), level or 0)
    facts: dict[str, Any] = {}
    with store.artifact(
        _catalog(folder), Noted(note="catalog"), "weatherpeft.spec", (), facts, [catalog.PATHS]
    ) as directory:
        catalog.write(directory, [catalog.Part(folder, store.artifact_digest(folder), FIELDS)], facts)
    return folder


def _catalog(raw: Path) -> Path:
    """The catalog of a folder of raw files."""
    return raw.with_name(f"{raw.name}-catalog")


# Measuring


def take_turns(ways: Mapping[Way, Callable[[], object]], rounds: int, count: int) -> dict[Way, float]:
    """CPU milliseconds of each way, for one of the ``count`` things that a call does."""
    least = dict.fromkeys(ways, np.inf)
    for _ in range(rounds + 1):  # the first to warm up
        for name, run in ways.items():
            begin = time.process_time()
            run()
            least[name] = min(least[name], (time.process_time() - begin) / count)
    return {name: 1e3 * seconds for name, seconds in least.items()}


def rows_of(step: str, times: Mapping[str, float], reference: str, **more: Mapping[str, float]) -> list[dict]:
    """Lines of the table."""
    columns = ("memory MiB", "size")
    return [
        {
            "step": step,
            "way": way,
            "CPU ms": milliseconds,
            "relative": times[reference] / milliseconds,
            **{column: more.get(column.split()[0], {}).get(way) for column in columns},
        }
        for way, milliseconds in times.items()
    ]


def _resident(kind: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def _peak(queue: Any, prepare: Callable[..., Callable[[], object]], arguments: tuple[Any, ...]) -> None:
    give_freed_memory_back(2**16)  # else it blurs a peak
    run = prepare(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = _resident("VmRSS")
    run()
    queue.put(_resident("VmHWM") - before)


def peak(prepare: Callable[..., Callable[[], object]], *arguments: Any) -> float:
    """Peak memory in MiB of a function in a process of its own, beyond what ``prepare`` left."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peak, args=(queue, prepare, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"measuring the memory of {prepare.__name__} failed")
    return float(queue.get())


# Steps


def decode(raw: Path, rounds: int, count: int = 12) -> list[dict[str, Any]]:
    """GRIB messages to float32 fields."""
    import cfgrib
    import eccodes

    path = raw / "False.grib"
    fields = [field for _, field in grib_fields(path, FIELDS)][:count]

    def ours() -> None:
        for field in fields:
            field.read()

    def plain() -> None:
        with path.open("rb") as stream:
            for _ in fields:
                handle = eccodes.codes_grib_new_from_file(stream)
                eccodes.codes_get_values(handle).astype(np.float32)
                eccodes.codes_release(handle)

    def with_cfgrib() -> None:
        filters = {"cfVarName": "t2m"}
        dataset = cfgrib.open_dataset(path, indexpath="", backend_kwargs={}, filter_by_keys=filters)
        dataset["t2m"].load()

    times = take_turns({"ours": ours, "ecCodes": plain}, rounds, len(fields))
    in_file = sum(1 for key, _ in grib_fields(path, FIELDS) if key.variable == "2m_temperature")
    times |= take_turns({"cfgrib": with_cfgrib}, rounds, in_file)
    times |= take_turns({"headers, checked": lambda: list(grib_fields(path, FIELDS))}, rounds, 3 * in_file)
    times |= take_turns({"values, checked": _check(path, count)}, rounds, count)
    return rows_of("decode a field", times, "cfgrib")


def _check(path: Path, count: int) -> Callable[[], None]:
    """The look for what is not plausible, in fields that are decoded."""
    read = [(key, field.layout, field.read()) for key, field in list(grib_fields(path, FIELDS))[:count]]

    def check() -> None:
        for key, layout, values in read:
            check_field(values, VARIABLES[key.variable], key.level, layout.latitude, layout.longitude)

    return check


def _fields_to_regrid(grid: Grid, count: int) -> xr.DataArray:
    maker, (name, level) = Maker(grid), FIELDS.channels()[0]
    values = np.stack([maker.field(name, level) for _ in range(count)])
    axes = {"latitude": grid.latitude, "longitude": grid.longitude}
    return xr.DataArray(values, dims=("channel", *axes), coords=axes, name="field")


def _regrid_ours(grid: Grid, target: Grid, count: int) -> Callable[[], object]:
    fields = _fields_to_regrid(grid, count).values
    regridder = Regridder(grid.latitude, grid.longitude, target, "conservative")
    regridder(fields[0])
    return lambda: regridder(fields)


def _regrid_xarray(grid: Grid, target: Grid, count: int) -> Callable[[], object]:
    import xarray_regrid  # noqa: F401  its accessor

    fields = _fields_to_regrid(grid, count)
    wanted = xr.Dataset(coords={"latitude": target.latitude, "longitude": target.longitude})
    fields[:1].regrid.conservative(wanted, latitude_coord="latitude")
    return lambda: fields.regrid.conservative(wanted, latitude_coord="latitude").load()


def _cdo(folder: Path, grid: Grid, target: Grid, rounds: int, count: int) -> float:
    """CPU milliseconds a field of ``cdo remap`` with weights made before."""
    fields = _fields_to_regrid(grid, count).rename(channel="time").assign_coords(time=np.arange(count))
    for axis, units in (("latitude", "degrees_north"), ("longitude", "degrees_east")):
        fields[axis].attrs["units"] = units
    fields.to_netcdf(folder / "in.nc")
    rows, columns = target.shape
    step = target.resolution_deg
    lines = ["gridtype = lonlat", f"xsize = {columns}", f"ysize = {rows}", "xfirst = 0"]
    lines += [f"xinc = {step}", f"yfirst = {target.latitude[0]}", f"yinc = -{step}"]
    (folder / "grid").write_text("\n".join(lines))
    least = np.inf
    files = {name: str(folder / name) for name in ("grid", "weights.nc", "in.nc", "out.nc")}
    command = ["cdo", "-s", f"gencon,{files['grid']}", files["in.nc"], files["weights.nc"]]
    subprocess.run(command, check=True)
    operator = f"remap,{files['grid']},{files['weights.nc']}"
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(["cdo", "-s", "-P", "1", operator, files["in.nc"], files["out.nc"]], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        least = min(least, spent / count)
    return 1e3 * least


def regridding(folder: Path, grid: Grid, target: Grid, rounds: int) -> list[dict[str, Any]]:
    """To the target grid, conservatively."""
    count = 8
    ways = {"ours": _regrid_ours, "xarray-regrid": _regrid_xarray}
    ready = {name: prepare(grid, target, count) for name, prepare in ways.items()}
    times = take_turns(ready, rounds, count)
    many = len(FIELDS.channels())
    memory = {name: peak(prepare, grid, target, many) for name, prepare in ways.items()}
    if shutil.which("cdo"):
        times["cdo remap, file to file"] = _cdo(folder, grid, target, rounds, count)
    return rows_of(f"regrid a field; memory for {many}", times, "xarray-regrid", memory=memory)


def _write_stores(folder: Path, target: Grid, samples: int) -> dict[str, Path]:
    """The same samples as our store, its packed copy, an uncompressed Zarr array and a file to map."""
    maker = Maker(target)
    data = np.stack([maker.moment() for _ in range(samples)])
    channels = [channel_label(name, level) for name, level in FIELDS.channels()]
    times = np.datetime64(START, "ns") + np.arange(samples) * np.timedelta64(6, "h")
    like = xr.Dataset(
        {name: ("time", np.zeros(samples)) for name in FIELDS.surface},
        {"time": times, "level": list(LEVELS)},
    )
    block = shard_times([target], FIELDS)
    with store.artifact(folder / "ours", Noted(note="ours"), "weatherpeft.spec") as directory:
        path = directory / f"{target.label}.zarr"
        writer = FieldWriter(
            path, like[list(FIELDS.surface)].assign_coords(like.coords), target, FIELDS, block, {}
        )
        for place in writer.blocks(store.FIELDS):
            writer.write(store.FIELDS, place, data[place])
    moments = {"mean": data.mean((0, 2, 3), float), "standard_deviation": data.std((0, 2, 3), float)}
    with store.artifact(folder / "statistics", Noted(note="statistics"), "weatherpeft.spec") as directory:
        dataset = xr.Dataset({name: ("channel", v) for name, v in moments.items()}, {"channel": channels})
        store.write_dataset(dataset, directory / "statistics.zarr")
    spec = PackSpec(variables=FIELDS, grids=(target,))
    pack(spec, folder / "ours", folder / "statistics", folder / "packed")
    plain = zarr.create_array(
        folder / "plain.zarr", shape=data.shape, chunks=(1, *data.shape[1:]), dtype="f4", compressors=None
    )
    plain[:] = data
    np.save(folder / "mapped.npy", data)
    name = f"{target.label}.zarr"
    return {
        "zarr-python, uncompressed": folder / "plain.zarr",
        "zarr-python": folder / "ours" / name,
        "tensorstore": folder / "ours" / name,
        "ours": folder / "ours" / name,
        "ours, int16 to float32": folder / "packed" / name,
        "memmap": folder / "mapped.npy",
    }


def reading(folder: Path, target: Grid, rounds: int, samples: int) -> list[dict[str, Any]]:
    """Samples of all channels, in random order; ours are compressed with lz4, in shards."""
    import tensorstore

    paths = _write_stores(folder, target, samples)
    order = np.random.default_rng(2).permutation(samples).tolist()
    names = (*FIELDS.surface, *FIELDS.atmospheric)
    plain: Any = zarr.open_array(paths["zarr-python, uncompressed"], mode="r")
    sharded: Any = zarr.open_group(paths["zarr-python"], mode="r")[store.FIELDS]
    kvstore = {"driver": "file", "path": f"{paths['tensorstore'] / store.FIELDS}/"}
    opened: Any = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}).result()
    exact, packed = (StoredFields(paths[way], names) for way in ("ours", "ours, int16 to float32"))
    mapped = np.load(paths["memmap"], mmap_mode="r")
    readers: dict[str, Callable[[int], object]] = {
        "zarr-python, uncompressed": lambda index: plain[index],
        "zarr-python": lambda index: sharded[index],
        "tensorstore": lambda index: opened[index].read().result(),
        "ours": lambda index: exact.read(index, None),
        "ours, int16 to float32": lambda index: packed.read(index, None),
        "memmap": lambda index: np.array(mapped[index]),
    }
    ways = {way: lambda read=read: [read(index) for index in order] for way, read in readers.items()}
    size = {way: _bytes(path) / mapped.nbytes for way, path in paths.items()}
    times = take_turns(ways, rounds, samples)
    return rows_of("read a sample at random", times, "zarr-python, uncompressed", size=size)


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _regrid_spec(raw: Path, grids: tuple[Grid, ...], days: int) -> RegridSpec:
    period = {"start": START.date(), "end": START.date() + timedelta(days=days - 1)}
    source = {"name": "local", "paths": [f"{raw}/*.grib"], "span": period}
    request = {"variables": FIELDS.model_dump(), "period": period}
    grids_json = [grid.model_dump() for grid in grids]
    return RegridSpec.parse({"source": source, "request": request, "grids": grids_json})


def whole(
    folder: Path, raws: Mapping[int, Path], target: Grid, rounds: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The regrid stage, and what it comes to for many years of jobs of a month each.

    What a job takes beside its fields is told apart by jobs of one and of more days, the keys of ``raws``.
    """
    days = max(raws)
    per_day = len(FIELDS.channels()) * 4
    ways = {"one grid": (target,), "two grids": (target, COARSE)}

    def run(way: str, length: int) -> Callable[[], None]:
        raw = raws[length]
        return lambda: _regrid_anew(_regrid_spec(raw, ways[way], length), raw, folder / way)

    jobs = {(way, length): run(way, length) for way in ways for length in (1, days)}
    spent = take_turns(jobs, rounds, 1)
    times = {way: (spent[way, days] - spent[way, 1]) / (per_day * (days - 1)) for way in ways}
    size, years = {}, []
    for way, grids in ways.items():
        stored = _bytes(folder / way) / (per_day * days)
        size[way] = stored / (4 * sum(grid.shape[0] * grid.shape[1] for grid in grids))
        job = max(0.0, spent[way, 1] - per_day * times[way])
        for span, number in (("2007-2018", 12), ("40 years", 40)):
            total = times[way] * FIELDS_A_YEAR + job * 12
            years.append(
                {
                    "fields": f"{len(FIELDS.channels())} x {span}",
                    "grids": way,
                    "core-hours": total * number / 1e3 / 3600,
                    "GiB": stored * FIELDS_A_YEAR * number / 2**30,
                }
            )
    return rows_of("raw GRIB to store, a field", times, "one grid", size=size), years


def _regrid_stage(raw: Path, output: Path, grid: Grid, days: int) -> Callable[[], object]:
    _regrid_anew(_regrid_spec(raw, (grid,), 1), raw, output)  # imports, caches
    return lambda: _regrid_anew(_regrid_spec(raw, (grid,), days), raw, output)


def _regrid_anew(spec: RegridSpec, raw: Path, output: Path) -> None:
    """Regrid also what is there already, which the stage by itself would leave."""
    shutil.rmtree(output, ignore_errors=True)
    regrid(spec, _catalog(raw), output / "catalog", output / "shared")


def growth(folder: Path, grid: Grid, target: Grid, days: int) -> list[dict[str, Any]]:
    """Memory of the regrid stage, for a period and one four times as long."""
    raw = write_grib(folder / "long", grid, 4 * 4 * days)
    return [
        {"period": f"{length} days", "memory MiB": peak(_regrid_stage, raw, folder / "grown", target, length)}
        for length in (days, 4 * days)
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--resolution", type=float, default=0.25, help="of the raw data, in degrees")
    parser.add_argument("--target", type=float, default=1.40625, help="of the store, in degrees")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=24, help="to read from")
    parser.add_argument("--days", type=int, default=2, help="from raw data to a store, at least 2")
    parser.add_argument("--long-days", type=int, default=10, help="shorter period for memory, at 3 degrees")
    parser.add_argument("--output", type=Path, help="also write a .json or .csv file")
    arguments = parser.parse_args()
    grid = Grid(resolution_deg=arguments.resolution, poles=True)
    target = Grid(resolution_deg=arguments.target)
    where = machine(["cpu"])
    print(where)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raws = {days: write_grib(folder / f"raw-{days}", grid, 4 * days) for days in (1, arguments.days)}
        rows = decode(raws[1], arguments.rounds)
        rows += regridding(folder, grid, target, arguments.rounds)
        rows += reading(folder, target, arguments.rounds, arguments.samples)
        lines, years = whole(folder, raws, target, arguments.rounds)
        rows += lines
        show(f"Data, {grid.shape[0]} x {grid.shape[1]} to {target.shape[0]} x {target.shape[1]}", rows)
        show("All of it", years)
        for raw in raws.values():
            shutil.rmtree(raw)
        grown = growth(folder, Grid(resolution_deg=3, poles=True), target, arguments.long_days)
        show("Memory of the regrid stage", grown)
    if arguments.output:
        save(arguments.output, where, rows)


if __name__ == "__main__":
    main()
