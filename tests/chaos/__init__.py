"""The operator under crashes, faults and a cluster's everyday events, watched from outside.

::

    operator(s) ──► proxy (crashes, faults) ──► API server ◄── kubelet, observer (directly)
                        └──────────────────────► residents ◄── GPU's ledger

`python -m tests.chaos --help` runs as many as you like; docs/performance.md says what was seen.
"""
