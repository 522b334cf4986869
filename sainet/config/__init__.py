"""What was asked for: the schema, the layers with their origin, and the values that depend on the machine."""
