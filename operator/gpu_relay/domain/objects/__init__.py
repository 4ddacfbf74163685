"""One module per object that decisions read: its type, and its codec from JSON.

No decisions are made here.
"""
