# SPDX-License-Identifier: AGPL-3.0-only
"""The trainer: one Ultralytics training run per process, from a job file to a termination message.

It is a program of its own under the AGPL-3.0, as Ultralytics is; the other parts of GPU Relay talk to it through files
and HTTP only (docs/contracts.md).

    run.py          one attempt, from the job file to the termination message
    gpu_stage.py    the part of an attempt that has the GPU
    prepare.py      the part that needs no GPU, and the program `yolo-trainer prepare`
    tracking        MLflow, TensorBoard, Weights & Biases
    outputs         manifest, publication, exports, further validation
    training        the training run, its checkpoints and its progress
    inputs          data sets, weights and arguments: fetched, converted, checked
    job             the job file and its errors
    storage         URIs, archives, atomic files, volumes

Each of these imports only what is below it in this order: import-linter checks it. Modules
outside a package are the programs, and what every package uses: errors, texts, the termination message.
"""
