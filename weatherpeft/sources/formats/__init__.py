"""Readers of GRIB, NetCDF and Zarr, which give the canonical dataset."""
