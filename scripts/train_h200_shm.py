#!/usr/bin/env python3
"""The H200 + /dev/shm training command of the users' documents, handed over to `sainet` with that profile.

    train_h200_shm.py --stage 1 --epochs 110

Any other option of `sainet train` or `sainet full-workflow` is handed on as it is.
"""

from _handover import main

if __name__ == "__main__":
    main(__doc__, profile="h200-shm")
