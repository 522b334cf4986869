"""What a run will need: RAM, /dev/shm, disk and VRAM, before anything starts."""
