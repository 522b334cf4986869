"""What the shims share: understand the documents' options, print the `sainet` command, then become it."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence


def main(description: str | None, profile: str | None = None) -> None:
    """Hand this script's command line over to sainet; `profile` is fixed, or an option where it is None."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--stage", choices=["1", "2"], help="train one stage")
    what.add_argument("--full-workflow", action="store_true", help="train both stages")
    if profile is None:
        parser.add_argument("--profile", default="auto", help="default: auto, by the machine's GPUs")
    known, rest = parser.parse_known_args()
    command = ["full-workflow"] if known.full_workflow else ["train", "--stage", known.stage]
    hand_over([*command, "--profile", profile or known.profile, *rest])


def hand_over(arguments: Sequence[str]) -> None:
    """Print the command on stderr and replace this process by it: exit code and signals are sainet's from here on."""
    print(f"+ {shlex.join(['sainet', *arguments])}", file=sys.stderr, flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "sainet", *arguments])
