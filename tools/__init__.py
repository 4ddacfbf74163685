"""Programs that publish and check the project: the documentation's site, releases, the tour of a job's states, words.

`make docs`, `make release`, `make tour`, `make lint` and the release workflow run them. Generators of single files are
beside what they generate: the CRD's in `gpu_relay.api`, the chart's in manifests/chart.
"""
