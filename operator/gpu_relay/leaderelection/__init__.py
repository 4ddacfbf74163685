"""Leader election by a Lease: the decision who may lead (pure), the client of the Lease, the loop that renews it.

The Leases of GPUs are in `clients.leases`.
"""
