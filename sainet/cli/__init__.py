"""What the user types: one file per command, and no logic in them."""
