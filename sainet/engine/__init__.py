"""The training process: the only package that imports torch and ultralytics. It is given a plan, and reports events."""
