"""Reading files of the Unix program ``compress`` (ending .Z), which Python cannot."""

__all__ = ["decompress_z"]

_MAGIC = b"\x1f\x9d"
_CLEAR = 256


def decompress_z(data):
    """Decompress the bytes of a ``.Z`` file.

    Parameters
    ----------
    data : bytes
        The whole file, made by ``compress``.

    Returns
    -------
    content : bytes

    Raises
    ------
    ValueError
        If the data is no such file, or damaged.

    References
    ----------
    .. [1] T. A. Welch, "A Technique for High-Performance Data Compression", Computer 17(6),
       1984, doi:10.1109/MC.1984.1659158.
    """
    if len(data) < 3 or data[:2] != _MAGIC:
        raise ValueError(f"This is no .Z file: it must begin with {_MAGIC!r}. Got {data[:2]!r}.")
    most_bits, block_mode = data[2] & 0x1F, bool(data[2] & 0x80)
    if not 9 <= most_bits <= 16:
        raise ValueError(f"A .Z file has codes of 9 to 16 bits. Got {most_bits}; it is damaged.")
    roots = [bytes([i]) for i in range(256)] + ([b""] if block_mode else [])
    table, out, previous = list(roots), [], None
    bits, buffer, n_buffered = 9, 0, 0
    # Codes are written in groups of eight; where the width of a code changes, the rest of the
    # group is filling that has to be skipped. ``start`` is where the current width began.
    position = start = 3
    while True:
        while n_buffered < bits and position < len(data):
            buffer |= data[position] << n_buffered
            n_buffered += 8
            position += 1
        if n_buffered < bits:
            break
        code = buffer & ((1 << bits) - 1)
        buffer >>= bits
        n_buffered -= bits
        if code == _CLEAR and block_mode:
            table, previous = list(roots), None
            position = _group_end(position, n_buffered, start, bits)
            start, bits, buffer, n_buffered = position, 9, 0, 0
            continue
        if code < len(table):
            entry = table[code]
        elif code == len(table) and previous is not None:
            entry = previous + previous[:1]  # a code that is used while it is being made
        else:
            raise ValueError("The .Z file is damaged: it uses a code that it has not made.")
        out.append(entry)
        if previous is not None and len(table) < 1 << most_bits:
            table.append(previous + entry[:1])
        previous = entry
        # The writer is one entry ahead of the reader and widens its codes when its own table
        # has outgrown them.
        if len(table) >= 1 << bits and bits < most_bits:
            position = _group_end(position, n_buffered, start, bits)
            start, bits, buffer, n_buffered = position, bits + 1, 0, 0
    return b"".join(out)


def _group_end(position, n_buffered, start, bits):
    """Where the group of eight codes ends that the last code belongs to."""
    used_bits = 8 * (position - start) - n_buffered
    group = 8 * bits
    return start + -(-used_bits // group) * bits
