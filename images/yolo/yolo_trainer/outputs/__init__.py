# SPDX-License-Identifier: AGPL-3.0-only
"""What a run leaves: the manifest, published files, exports and figures of further splits; and what it removes.

`finished_run.py` reads such results again, to continue the run. Checkpoints of an unfinished run are in `training`, and
the termination message is in `yolo_trainer.termination`.
"""
