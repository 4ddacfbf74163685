"""Prometheus metrics of the operator."""

from prometheus_client import Counter, Gauge, Histogram

API_REQUESTS = Counter("gpu_relay_api_requests", "Requests to the Kubernetes API", ["method", "status"])
RESIDENT_REQUESTS = Counter("gpu_relay_resident_requests", "Requests to residents", ["call", "status"])
PREPARATIONS = Gauge("gpu_relay_preparations", "Jobs whose data is being fetched and checked without a GPU")
QUEUE_LENGTH = Gauge("gpu_relay_queue_length", "Jobs that wait for a GPU")
TURNS = Counter("gpu_relay_turns", "Turns that began", ["gpu"])
RESIDENT_OUT = Gauge("gpu_relay_resident_out", "1 while the resident is unloaded for a turn or owed a reload", ["gpu"])
FREE_MEMORY = Gauge("gpu_relay_free_memory_mib", "Free GPU memory at the last measurement, in MiB", ["gpu"])
LOAD_FAILURES = Counter("gpu_relay_resident_load_failures", "Loads of a resident that failed", ["gpu"])
PASS_SECONDS = Histogram(
    "gpu_relay_pass_seconds", "Seconds of one look at one GPU", buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60)
)
PASS_ERRORS = Counter("gpu_relay_pass_errors", "Looks that ended in an error and were repeated", ["key"])
