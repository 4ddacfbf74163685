# SPDX-License-Identifier: AGPL-3.0-only
"""Files and where they are stored: URIs and their backends, atomic and sealed files, archives, room on volumes.

Nothing here knows a job, a data set or a training.
"""
