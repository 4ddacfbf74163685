"""Text that others wrote, made fit for a terminal."""

import unicodedata


def visible(text: str) -> str:
    """Replace control characters: anybody's image may be the trainer's, and a message must not steer a terminal."""
    return "".join("\ufffd" if unicodedata.category(each) == "Cc" and each not in "\n\t" else each for each in text)
