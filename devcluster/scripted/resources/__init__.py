"""Create, read and change the objects of one namespace: one module for each resource.

`devcluster.scripted.world` joins them. Each method is one request, or waits for what one request shows.
"""
