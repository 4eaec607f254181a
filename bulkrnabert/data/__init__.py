"""Inputs: genes, tables, portals, clinical data, splits, binning, tokens."""
