# SPDX-License-Identifier: AGPL-3.0-only
"""The job file: its fields and their types, and the error for each field that is wrong.

What a field names (a folder, a URI, a model) is checked in `inputs`; nothing here reads a file but the job file and
Ultralytics' list of arguments.
"""
