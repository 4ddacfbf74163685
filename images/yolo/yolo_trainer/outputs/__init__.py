# SPDX-License-Identifier: AGPL-3.0-only
"""The results of a run: manifest, published files, exports, metrics of further splits; and the clean-up after it.

`finished_run.py` reads such results again, to continue the run. Checkpoints of an unfinished run are in `training`, and
the termination message is in `yolo_trainer.termination`.
"""
