"""Observe, plan, apply: the loop that turns decisions into effects."""
