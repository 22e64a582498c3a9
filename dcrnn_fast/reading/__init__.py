"""Reads files that nobody vouches for: pickles, numpy arrays, text tables, NetCDF and HDF5."""
