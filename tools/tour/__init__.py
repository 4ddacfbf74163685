"""The generator of docs/tour.md: `make tour`."""
