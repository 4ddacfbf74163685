"""What talks to the outside: the API server, residents, trainers, the clock.

No decisions are made here; objects are read by the codecs of `domain.objects`.
"""
