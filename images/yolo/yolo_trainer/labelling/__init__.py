# SPDX-License-Identifier: AGPL-3.0-only
"""Label images by words: a SAM3 server finds the objects, and the result is a data set to train on."""
