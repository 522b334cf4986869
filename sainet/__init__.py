"""sainet trains the two-stage YOLO fire/smoke detector on whatever machine was rented."""

__version__ = "0.1.0"
