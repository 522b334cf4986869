"""Data sets: what training reads, and the demo set that can be made without downloading anything."""
