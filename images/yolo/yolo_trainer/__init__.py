# SPDX-License-Identifier: AGPL-3.0-only
"""The trainer: one Ultralytics training per process, from a job file to a termination message.

It is a program of its own under the AGPL-3.0, as Ultralytics is; the other parts of GPU Relay talk to it through files
and HTTP only (docs/contracts.md).
"""
