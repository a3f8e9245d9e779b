"""Makes the references of this folder with kerchunk from NetCDF-4 files, for which kerchunk needs h5py.

    pip install kerchunk h5py && PYTHONPATH=../../.. python make.py

Made with kerchunk 0.2.10 and h5py 3.16. The values are those of ``tests.sources.cloud_stores.value``.
"""

import json
import os
from pathlib import Path

from tests.sources.test_xarray import dataset


def main() -> None:
    """Write two files of a day each, references to the first and references to both."""
    from kerchunk.combine import MultiZarrToZarr
    from kerchunk.hdf import SingleHdf5ToZarr  # needs h5py

    os.chdir(Path(__file__).resolve().parent)
    data = dataset("2m_temperature", "temperature", "land_sea_mask")
    found = []
    for day in (5, 6):
        one = data.sel(time=f"2001-01-{day:02}")
        encoding = {"ta": {"zlib": True, "shuffle": True, "chunksizes": (1, 3, 12, 24)}}
        encoding |= {
            "tas": {"chunksizes": (2, 6, 24)},
            "time": {"units": "hours since 1970-01-01"},
        }
        one.to_netcdf(f"{day}.nc", encoding=encoding)
        found.append(SingleHdf5ToZarr(f"{day}.nc", inline_threshold=300).translate())
    constant = ["lat", "lon", "plev", "mask"]
    both = MultiZarrToZarr(found, concat_dims=["time"], identical_dims=constant).translate()
    for name, references in (("one", found[0]), ("both", both)):
        Path(f"{name}.json").write_text(json.dumps(references))


if __name__ == "__main__":
    main()
