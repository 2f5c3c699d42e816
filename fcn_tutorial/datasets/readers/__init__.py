"""Readers of the published data sets, each in its official layout on disk."""
