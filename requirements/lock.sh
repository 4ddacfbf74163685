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
compile operator.txt --extra operator --extra page --constraints requirements/dev.txt
compile sam3.txt --extra sam3 --constraints requirements/dev.txt
compile adapter.txt --extra adapter --constraints requirements/dev.txt
compile yolo.txt --extra yolo --constraints requirements/dev.txt
group() { # name arguments…
  local name=$1; shift
  "${UV:-uv}" pip compile --group "pyproject.toml:$name" --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-header --quiet "$@" --output-file "requirements/$name.txt"
}
group torch --constraints requirements/dev.txt
group uv --constraints requirements/dev.txt
group s3-server
group mlflow-server
group inference-sdk
group label-studio-ml
group publish
