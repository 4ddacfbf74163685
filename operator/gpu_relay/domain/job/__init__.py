"""What is decided about one job: validation, preparation, failures, deadlines, its status.

Which job gets a GPU is decided in `domain.queue`, what happens while it has one in `domain.turn`.
"""
