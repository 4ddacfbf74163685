"""What Kueue is asked for a job, and what its answers mean.

The Workload's client is `clients.workloads`.
"""
