"""The operator, the SAM3 server and the trainer as processes of this machine, without a pod around them.

Each module starts one program from this checkout, with short intervals or small memory, and can call and end it. What
such a process is asked to do is decided by who starts it: benchmarks, `make tour` and the tests.
"""
