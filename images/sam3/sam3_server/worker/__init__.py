"""The worker: the process that holds the model and the GPU memory, and the server's side of talking to it.

    server                                  worker process
    zygote_client.py ── zygote.py forks ────►  its imports are done already
    spawn.py         ── or Python is started ►  python -m sam3_server.worker: the imports come first
    process.py       ── Prepare ────────────►  weights in host memory; no GPU memory yet
                     ── Attach ─────────────►  reserves the memory, moves the weights there, answers a probe
                     ── Segment ────────────►  one image, several prompts
                     ── Cancel ─────────────►  their client has disconnected: the remaining work is dropped
                     ── SIGTERM, SIGKILL ───►  the process ends, and with it everything that it held
                                            encoder process, which has no GPU
    encoder_client.py ── Encode ────────────►  run lengths, outlines, label lines, JSON

`interface.py` has what the residency uses of a worker. When a worker is started, attached or ended is decided in
`residency`, and what a request may ask for in `intake`: nothing here knows a hold or an HTTP status.
"""
