"""How training and preparing pods are built.

Nothing here talks to the API server, but for the watch of the site's pod template.
"""
