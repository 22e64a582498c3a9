"""What the variables of a NetCDF file or a zarr folder mean, by the CF conventions: one interpretation for both."""
