"""Pure: from what could be read to what is shown. No I/O, no clock, no colours."""
