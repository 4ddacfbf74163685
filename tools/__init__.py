"""What publishes the project: the documentation's site and releases."""
