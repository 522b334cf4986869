"""The life of one stage: may it start, launch it, watch it, and say how it ended."""
