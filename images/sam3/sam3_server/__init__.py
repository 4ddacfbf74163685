"""The resident: a SAM3 inference server that gives its GPU up when asked, and answers all the while.

inference.py  the inference routes; uploads.py reads their bodies, segment_schemas.py and roboflow.py are their forms
app.py        the routes of control and observation; openapi.py completes their document
service.py    transitions, in order     residency.py  states, and what each admits (pure)
gate.py       who is let in, and when   hold.py       who may keep the model unloaded (pure); hold_file.py keeps it
workers.py    the loaded worker, and the one that stands by
standby.py    what is kept ready while the GPU is lent out; host_memory.py says whether there is room
fallback.py   answers from the CPU meanwhile
worker/       the process that holds the model and the GPU memory
"""
