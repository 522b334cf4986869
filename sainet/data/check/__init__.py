"""Looking for everything that a training would drop, change or learn wrongly, before it does."""
