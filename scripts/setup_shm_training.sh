#!/usr/bin/env bash
# The set-up command of the users' "H200 + /dev/shm" document, handed over to `sainet data stage`.
#
#     setup_shm_training.sh DATA.yaml
#
# Any other option of `sainet data stage` is handed on as it is. PYTHON names the Python that sainet is installed for.
# A training with --profile h200-shm stages its data by itself: this is for doing it before.
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "error: no data YAML: setup_shm_training.sh DATA.yaml, which is sainet data stage DATA.yaml" >&2
    echo "  hint: a training with --profile h200-shm stages its data by itself" >&2
    exit 2
fi
echo "+ sainet data stage $*" >&2
exec "${PYTHON:-python3}" -m sainet data stage "$@"
