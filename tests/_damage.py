"""Ways to damage the bytes of a file, of which `start` and `stop` delimit some."""


def flip_a_bit(data, start, stop, rng):
    return replaced(data, start, start + 1, bytes([data[start] ^ 1 << rng.integers(8)]))


def replace_bytes(data, start, stop, rng):
    return replaced(data, start, stop, rng.bytes(stop - start))


def replace_a_digit(data, start, stop, rng):
    """Of the header's numbers: parameters, shapes and places of arrays."""
    digits = [at for at, byte in enumerate(data) if chr(byte) in "0123456789"]
    if not digits:
        return data
    at = rng.choice(digits)
    return replaced(data, at, at + 1, str(rng.integers(10)).encode())


def forge_the_length(data, start, stop, rng):
    """Of the header, by which the file opens."""
    return replaced(data, 0, 8, int(2 ** rng.uniform(0, 63)).to_bytes(8, "little"))


def delete(data, start, stop, rng):
    return replaced(data, start, stop, b"")


def insert(data, start, stop, rng):
    return replaced(data, start, start, rng.bytes(stop - start))


def double(data, start, stop, rng):
    return replaced(data, start, start, data[start:stop])


def blank(data, start, stop, rng):
    """As a disk does with blocks that were never written."""
    return replaced(data, start, stop, bytes(stop - start))


def truncate(data, start, stop, rng):
    return data[:start]


def swap(data, start, stop, rng):
    """Two blocks of one size."""
    size = min(stop - start, (len(data) - start) // 2)
    other = int(rng.integers(start + size, len(data) - size + 1))
    return (
        data[:start]
        + data[other : other + size]
        + data[start + size : other]
        + data[start:stop][:size]
        + data[other + size :]
    )


WAYS = [flip_a_bit, replace_bytes, replace_a_digit, forge_the_length, delete, insert, double, blank, truncate, swap]


def replaced(data, start, stop, by):
    return data[:start] + by + data[stop:]
