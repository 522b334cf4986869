"""Writing a clean copy of a data set: what `check` finds is mended or left out, and every change is told."""
