"""The operator under crashes and faults, watched from outside.

::

    operator(s) ──► proxy (crashes, faults) ──► API server ◄── kubelet, observer (directly)
                        └──────────────────────► residents ◄── GPU's ledger

`python -m tests.chaos --help` runs as many as you like; docs/faults.md says what was seen.
"""
