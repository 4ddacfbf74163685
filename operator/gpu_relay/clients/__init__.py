"""Clients of the API server, of residents and of trainers, and the clock.

They decide nothing; the codecs of `domain.objects` read the objects.
"""
