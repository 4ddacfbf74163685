"""What the operator asks Kueue for a job, and what the answers mean.

The Workload's client is `clients.workloads`.
"""
