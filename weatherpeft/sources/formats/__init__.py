"""Fields of a file: GRIB, NetCDF and Zarr brought to the canonical dataset."""
