"""The resident: a SAM3 inference server that gives its GPU up when asked, and answers all the while.

app.py        routes                    hold.py      who may keep the model unloaded (pure)
service.py    transitions, in order     residency.py states, and what each admits (pure)
workers.py    the loaded worker, and the one that stands by
worker/       the process that holds the model and the GPU memory
"""
