"""What any controller needs: work queue, store of watched objects, relists, rate limit, isolation of errors.

Nothing here knows what a GPU or a turn is.
"""
