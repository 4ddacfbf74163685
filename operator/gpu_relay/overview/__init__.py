"""What the command line and the page show of a cluster: which job owns each GPU, the queue, the GPUs' history.

It is computed from objects that have been read; nothing here does I/O.
"""
