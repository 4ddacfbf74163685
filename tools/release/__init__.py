"""A release from a checkout: wheel, sdist, chart, install files; with images their digests and bills of materials."""
