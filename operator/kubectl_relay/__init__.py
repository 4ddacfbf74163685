"""`kubectl relay`: the jobs, which job owns a GPU, why a job waits, how it trains; with the user's own rights.

Here are the commands and their options, what each does (`reading`, `changing`, `logs`, `watching`, `gpu_watching`),
what reads the cluster (`effects`), what is computed from that (`views`) and what puts it on a terminal (`show`). Which
job owns a GPU, the queue and the history come from `gpu_relay.overview`, as for the page; objects are read by the
codecs of `gpu_relay.domain.objects`. Nothing here changes an object but the commands that say so (suspend, resume,
cancel).
"""
