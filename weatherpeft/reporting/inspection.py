"""The contents and the origin of an artifact, as text and as a picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weatherpeft.artifacts import catalog, store
from weatherpeft.artifacts.manifest import BOOKKEEPING, shown
from weatherpeft.fields.variables import VARIABLES
from weatherpeft.reporting.provenance import digests, short_name

if TYPE_CHECKING:
    import xarray as xr

_TIMES = 8
_MAPS = 12
_GRID = ("latitude", "longitude")


def inspect(path: Path, picture: Path) -> Iterator[str]:
    """Describe an artifact, or one store in it.

    Values are summarized over a few times, which are spread evenly. Fields, if there are any, are drawn as
    maps of the time in the middle.

    Args:
        path: directory of an artifact, or a Zarr store in it.
        picture: path of the PNG to write.

    Yields:
        Lines of text.

    Raises:
        ValueError: there is no complete artifact of this package.
    """
    if not path.is_dir():
        raise ValueError(f"{path}: no such directory; give an artifact, or a Zarr store in one")
    is_store = (path / "zarr.json").is_file()
    artifact = path.parent if is_store else path
    yield from _origin(artifact)
    folders = [path]
    if catalog.is_catalog(path):
        parts = catalog.read(path)
        folders = [part.path for part in parts]
        for part in parts:
            yield f"part     {shown(part.path)}: {', '.join(part.variables.names)}"
    stores = [path] if is_store else [one for folder in folders for one in sorted(folder.glob("*.zarr"))]
    fields = []
    for one in stores:
        yield ""
        yield from _contents(one)
        fields += [(f"{one.stem}: {title}", field) for title, field in _mapped(store.open_dataset(one))]
    others = [] if is_store else [file for folder in folders for file in _files(folder)]
    if others:
        yield ""
        yield from _aligned([("file", "MiB"), *((name, _mib(size)) for name, size in others)])
    yield ""
    if fields:
        _draw(fields[:_MAPS], short_name(path), picture)
        yield f"picture  {picture}"
    else:
        yield "no picture: nothing here has latitude and longitude"


def _origin(artifact: Path) -> Iterator[str]:
    record = store.read_provenance(artifact)
    known = {"spec", "code", "inputs", "packages", "digest", "format", "parts"}
    yield f"{short_name(artifact)}"
    marks = digests("", record)
    yield f"made by  code {marks['code']}, spec {marks['spec']}; contents {marks['digest']}"
    for name, value in record["spec"].items():
        text = str(value)
        yield f"spec     {name}: {text if len(text) <= 160 else text[:157] + '...'}"
    for name, digest in record["inputs"].items() or {"none": ""}.items():
        yield f"inputs   {name} {digest[:16]}".rstrip()
    yield f"versions {', '.join(f'{name} {version}' for name, version in record['packages'].items())}"
    for name in sorted(record.keys() - known):
        yield f"facts    {name}: {record[name]}"


def _contents(path: Path) -> Iterator[str]:
    import zarr

    stored = store.open_stored(path)
    dataset = store.canonical(stored)
    notes = ", ".join(f"{name} {value}" for name, value in dataset.attrs.items())
    yield f"{path.name}: {notes}" if notes else path.name
    for name, size in dataset.sizes.items():
        values = dataset[name].values if name in dataset.coords else None
        ends = "" if values is None or not size else f": {_text(values[0])} … {_text(values[-1])}"
        yield f"  {name} {size}{ends}"
    rows: list[tuple[str, ...]] = [("array", "type", "shape", "chunks", "shards", "codecs", "MiB", "stored")]
    group: Any = zarr.open_group(path, mode="r")
    for name in map(str, stored.variables):
        array = group[name]
        codecs = ", ".join(_codec(codec) for codec in array.compressors) or "none"
        shards = _shape(array.shards) if array.shards else "-"
        size = sum(file.stat().st_size for file in (path / name).rglob("*") if file.is_file())
        rows.append(
            (name, str(array.dtype), _shape(array.shape), _shape(array.chunks), shards, codecs)
            + (_mib(array.nbytes), _mib(size))
        )
    yield from _aligned(rows, "  ")
    of_channels = [name for name, array in stored.data_vars.items() if array.dims == ("channel",)]
    rows = [("variable", "units", "dims", "least", "mean", "greatest", "NaN")]
    for name, array in (dataset.assign(stored[of_channels])).data_vars.items():
        if array.dtype.kind in "fiu":
            dims = ", ".join(map(str, array.dims))
            rows.append((str(name), _units(str(name), array), dims, *_range(array)))
    yield f"  values{_of_times(dataset)}"
    yield from _aligned(rows, "  ")


def _time_dim(array: "xr.DataArray | xr.Dataset") -> str | None:
    return next((str(dim) for dim in array.dims if str(dim).endswith("time")), None)


def _chosen(size: int) -> list[int]:
    picked: list[int] = np.unique(np.linspace(0, size - 1, min(_TIMES, size)).round().astype(int)).tolist()
    return picked


def _of_times(dataset: "xr.Dataset") -> str:
    dim = _time_dim(dataset)
    if dim is None or dataset.sizes[dim] <= _TIMES:
        return ""
    return f" at {_TIMES} of the times"


def _range(array: "xr.DataArray") -> tuple[str, ...]:
    """Smallest, mean and largest value at a few times, and the number of NaN."""
    dim = _time_dim(array)
    parts = [array] if dim is None else [array.isel({dim: index}) for index in _chosen(array.sizes[dim])]
    low, high, total, count, holes = np.inf, -np.inf, 0.0, 0, 0
    for part in parts:
        values = part.values
        valid = values[~np.isnan(values)]
        holes += values.size - valid.size
        if valid.size:
            low, high = min(low, float(valid.min())), max(high, float(valid.max()))
            total, count = total + float(valid.sum(dtype=np.float64)), count + valid.size
    if not count:
        return "-", "-", "-", str(holes)
    return f"{low:.6g}", f"{total / count:.6g}", f"{high:.6g}", str(holes)


def _mapped(dataset: "xr.Dataset") -> Iterator[tuple[str, "xr.DataArray"]]:
    """Titles and fields to draw: the headline fields, then every other variable once."""
    from weatherpeft.fields.variables import channel_label
    from weatherpeft.reporting.scores import Channel, headline

    drawn = {str(name): array for name, array in dataset.data_vars.items() if set(_GRID) <= set(array.dims)}
    channels = []
    for name, array in drawn.items():
        if name in VARIABLES and VARIABLES[name].kind in ("surface", "atmospheric"):
            levels = array["level"].values.tolist() if "level" in array.dims else [None]
            channels += [Channel(name, level, channel_label(name, level)) for level in levels]
    for channel in (channels[index] for index in headline(channels)):
        array = drawn[channel.variable]
        array = array if channel.level_hpa is None else array.sel(level=channel.level_hpa)
        yield f"{channel.long_name}, {channel.units}", _moment(array)
    for name, array in drawn.items():
        if name not in {channel.variable for channel in channels}:
            yield ", ".join(filter(None, (name, _units(name, array)))), _moment(array)


def _moment(array: "xr.DataArray") -> "xr.DataArray":
    """One field: the first along each further dim, the middle one along time."""
    for dim in (dim for dim in array.dims if dim not in _GRID):
        array = array.isel({dim: array.sizes[dim] // 2 if str(dim).endswith("time") else 0})
    return array.transpose(*_GRID)


def _draw(fields: list[tuple[str, "xr.DataArray"]], title: str, picture: Path) -> None:
    from matplotlib.figure import Figure

    from weatherpeft.reporting.figures import style
    from weatherpeft.reporting.maps import geographic

    columns = min(3, len(fields))
    rows = -(-len(fields) // columns)
    with style({"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True}):
        figure = Figure(figsize=(5.2 * columns, 2.75 * rows + 0.4), layout="constrained")
        figure.suptitle(title)
        axes: Any = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat[len(fields) :]:
            axis.set_axis_off()
        for axis, (name, field) in zip(axes.flat, fields, strict=False):
            low, high = np.nanpercentile(field.values, [0.2, 99.8])
            limits = {"vmin": low, "vmax": high if high > low else low + 1}
            west_east, south_north = field["longitude"], field["latitude"]
            mesh = axis.pcolormesh(west_east, south_north, field.values, rasterized=True, **limits)
            others = [str(coord) for coord in field.coords if coord not in (*_GRID, "level")]
            moments = [f"{coord} {_text(field[coord].values)}" for coord in others]
            axis.set_title("\n".join([name, ", ".join(moments)]), fontsize=9)
            axis.set_aspect("equal", adjustable="box")
            geographic(axis)
            figure.colorbar(mesh, ax=axis, extend="both", shrink=0.8)
        picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture, format="png", dpi=110, facecolor="white", metadata={"Software": None})


def _files(path: Path) -> list[tuple[str, int]]:
    """Names and sizes in bytes of the files outside the stores."""
    return [
        (str(file.relative_to(path)), file.stat().st_size)
        for file in sorted(path.rglob("*"))
        if file.is_file()
        and file.name not in BOOKKEEPING
        and not any(part.endswith(".zarr") for part in file.relative_to(path).parts)
    ]


def _units(name: str, array: "xr.DataArray") -> str:
    return VARIABLES[name].units if name in VARIABLES else str(array.attrs.get("units", ""))


def _codec(codec: Any) -> str:
    values = codec.to_dict()
    details = values.get("configuration", {})
    chosen = [details[key] for key in ("cname", "shuffle") if key in details]
    parts = [str(getattr(value, "value", value)) for value in chosen]
    return " ".join([values["name"], *parts])


def _shape(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes)) or "scalar"


def _mib(size: int) -> str:
    return f"{size / 2**20:.3f}"


def _text(value: Any) -> str:
    if isinstance(value, np.datetime64) or getattr(value, "dtype", np.dtype("f8")).kind == "M":
        return str(np.datetime_as_string(value, unit="m"))
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def _aligned(rows: list[tuple[str, ...]], indent: str = "") -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield indent + "  ".join(cells).rstrip()
