"""Fields: variables, grids, regions, and regridding."""
