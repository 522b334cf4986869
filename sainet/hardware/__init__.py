"""What the machine has: RAM, CPUs, GPUs, storage, and the processes that run on it.

Everything is read afresh and as this process is allowed to use it: inside a container that is the container's
share, not the host's. All sizes are bytes. Nothing here knows what a training needs.
"""
