"""Leader election through a Lease: who may lead (pure), the Lease's client, the loop that renews.

Leases of GPUs are something else: `clients.leases`.
"""
