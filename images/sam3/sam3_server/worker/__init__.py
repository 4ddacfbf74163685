"""The worker: the process that holds the model and the GPU memory, and the server's side of talking to it.

    server                                  worker process
    forking.py  ── template.py forks ────►  its imports are done already
    starting.py ── or Python is started ─►  python -m sam3_server.worker: the imports come first
    process.py  ── Prepare ──────────────►  weights in host memory; no GPU memory yet
                ── Attach ───────────────►  reserves the memory, moves the weights there, answers a probe
                ── Segment ──────────────►  one image, several prompts
                ── Cancel ───────────────►  their client has left: the rest of them is dropped
                ── SIGTERM, then SIGKILL ►  the process ends, and with it everything it held
                                        encoder process, which has no GPU
    encoding.py ── Encode ───────────────►  run lengths, outlines, label lines, JSON

`Worker` is what the service relies on; `process.py` is the real one.
"""
