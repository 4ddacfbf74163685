"""The benchmarks: what the operator, the SAM3 server and the trainer cost, measured.

Each is a program (`python -m bench.fairness --help`) and prints a table; docs/performance.md has the results. Here are
also the clients that make the load, and the data sets that are trained. Nothing here passes or fails: what must hold is
checked in tests.
"""
