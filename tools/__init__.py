"""Programs that publish the project: the documentation's site, releases, and the tour of a job's states (docs/tour.md).

They are run by `make docs`, `make release` and `make tour`, and by the release workflow. Generators of single files lie
beside what they generate: the CRD's in `gpu_relay.api`, the chart's in manifests/chart.
"""
