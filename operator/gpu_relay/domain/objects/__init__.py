"""The objects that decisions read: for each, its type and its codec from JSON.

They decide nothing.
"""
