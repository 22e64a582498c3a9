"""Reads untrusted files: pickles, numpy arrays, text tables, NetCDF and HDF5."""
