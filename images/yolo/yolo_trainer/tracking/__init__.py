# SPDX-License-Identifier: AGPL-3.0-only
"""Experiment tracking: one run for each job at MLflow and Weights & Biases, and event files for TensorBoard.

`session` is what the trainer uses. It starts a `recorder`, a process of its own, for each service (`mlflow`, `wandb`),
and writes event files itself (`tensorboard`).
"""
