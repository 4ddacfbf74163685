"""Processes that read requests outside the event loop: the cost of parsing and decoding is up to the client.

    server                                   intake process (`sam3-intake`; two, started with the server)
    pool.py     ── Read, body's file ──────► request_reader.py: JSON or form, options, limits, pixels
                ◄── Done, file ───────────── the query, and the pixels as the worker gets them
                ── Respond, file ──────────► an answer in another server's format
    process.py  ── CPU time exceeded ──────► ended by the kernel, replaced; the request gets a 4xx

Bodies, pixels and answers travel as descriptors of files in memory, so the event loop copies none of them. The schemas
of inference requests are here, since they are parsed here: `segment_schemas.py` and `object_schemas.py` are those of
this server, `roboflow.py`, `roboflow_visual.py` and `anylabeling.py` those of others. `interface.py` has what the
server uses of this package. Bodies are received in `api`.
"""
