# SPDX-License-Identifier: AGPL-3.0-only
"""One training run on the GPU: Ultralytics' trainer, its checkpoints, its progress and what ends it.

Preflight and the memory cap, the hold on the resident, signals and the HTTP server of the progress belong to it.
Nothing here writes a result that another program reads: results are published in `outputs`.
"""
