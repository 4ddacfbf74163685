"""Clients of the API server, of residents and of trainers, and the clock.

One client of the Kubernetes API serves operator, plugin and page: `kube.py` writes, `kube_reader.py` reads, and both
send their requests with `rest_client.py`. Clients decide nothing; the codecs of `domain.objects` read the objects.
"""
