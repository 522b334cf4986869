"""Copying a data set to faster storage: whole and verified, or not there."""
