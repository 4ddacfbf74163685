# SPDX-License-Identifier: AGPL-3.0-only
"""Everything that a run reads: data sets, weights and arguments, found, fetched, converted and checked.

What passes the checks here can be trained: Ultralytics drops nothing of it, and raises no error that the job could have
been refused for. The job file itself is checked in `job`, URIs are read through `storage`, and the GPU is not touched.
"""
