#!/usr/bin/env bash
# The set-up command of the users' "H200 + /dev/shm" document. Staging is not part of sainet yet, so this changes
# nothing: it shows what is there, and says what will come.
set -euo pipefail

echo "sainet cannot stage data into /dev/shm yet; nothing was copied." >&2
echo "It will be \`sainet data stage\`: a checked copy into /dev/shm, sized against the loader's queue and the" >&2
echo "container's memory limit, that a training finds by itself and \`sainet data unstage\` removes." >&2
echo "Until then, copy the images there yourself, keep loader.cache: false, and point --data at the copy:" >&2
echo "  sainet train --stage 1 --profile h200-shm --set staging.to=null --data /dev/shm/DATA/data.yaml" >&2
echo "/dev/shm here:" >&2
df -h /dev/shm
