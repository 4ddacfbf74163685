#!/usr/bin/env bash
# Locks every dependency with hashes: dev.txt is resolved first, the images' files are subsets of the same resolution.
#   requirements/lock.sh [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { # output arguments…
  local output=$1; shift
  "${UV:-uv}" pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-header --quiet "$@" --output-file "requirements/$output"
}
compile dev.txt --all-extras --group dev --group torch "$@"
compile operator.txt --extra operator --constraints requirements/dev.txt
compile sam3.txt --extra sam3 --constraints requirements/dev.txt
compile yolo.txt --extra yolo --constraints requirements/dev.txt
group() { # name
  "${UV:-uv}" pip compile --group "pyproject.toml:$1" --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-header --quiet --constraints requirements/dev.txt --output-file "requirements/$1.txt"
}
group torch
group uv
