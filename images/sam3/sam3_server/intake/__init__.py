"""Reading requests, away from the event loop: parsing, validating and decoding cost as much as a client likes.

    server                                   intake process (`sam3-intake`; some, started with the server)
    pool.py     ── Read, body's file ──────► reading.py: JSON or form, options, limits, pixels
                ◄── Done, file ───────────── the query, and the pixels as they go to the worker
                ── Respond, file ──────────► an answer in another route's terms
    process.py  ── its time is over ───────► ended by the kernel, replaced; the request gets a 4xx

Bodies, pixels and answers travel as descriptors of files in memory, so the event loop copies none of them.
`Intake` is what the service relies on; `pool.py` is the real one.
"""
