"""COCO's compressed run lengths of a mask: checked here, since pycocotools trusts what it decodes. Pure."""

_FIRST = 48  # the character that stands for 0
_DATA, _SIGN, _MORE = 0x1F, 0x10, 0x20
_BITS = 5
_MOST_CHARACTERS = 7  # of one number: 35 bits


def require_valid(counts: str, pixels: int) -> None:
    """Pass run lengths of a mask that has so many pixels; raises ValueError."""
    lengths = decode(counts)
    if min(lengths, default=0) < 0 or sum(lengths) != pixels:
        raise ValueError("counts are not the run lengths of a mask of this size; send a mask as responses have it")


def decode(counts: str) -> list[int]:
    """Return the lengths of the runs; raises ValueError. From the fourth on, they are written as differences."""
    lengths: list[int] = []
    value = characters = 0
    for character in counts:
        code = ord(character) - _FIRST
        if not 0 <= code <= _DATA | _MORE or characters == _MOST_CHARACTERS:
            raise ValueError("counts are not in COCO's compressed form; send a mask as responses have it")
        value |= (code & _DATA) << _BITS * characters
        characters += 1
        if code & _MORE:
            continue
        if code & _SIGN:
            value -= 1 << _BITS * characters
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = characters = 0
    if characters:
        raise ValueError("counts end within a number; send a mask as responses have it")
    return lengths
