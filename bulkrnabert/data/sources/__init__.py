"""Portals and file formats that expression comes from."""
