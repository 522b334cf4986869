"""The VRAM tracer: `python -m sainet.memory.vram`, a process of its own.

Besides the engine it is the only place with torch. Nobody imports it.
"""
