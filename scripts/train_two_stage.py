#!/usr/bin/env python3
"""The two-stage training command of the users' documents, handed over to `sainet`.

    train_two_stage.py --stage 1 --epochs 110 --batch 128 --workers 8 --cache disk
    train_two_stage.py --full-workflow --batch 128 --workers 8 --cache disk

Any other option of `sainet train` or `sainet full-workflow` is handed on as it is.
"""

from _handover import main

if __name__ == "__main__":
    main(__doc__)
