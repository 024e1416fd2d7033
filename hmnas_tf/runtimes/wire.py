"""Protocol buffers by hand, as far as servables need them: TF Serving's own package would bring all of TensorFlow.

(Protocol Buffers, "Encoding".)
"""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def number(value):
    """Returns a non-negative integer as a varint."""
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def field(tag, content):
    """Returns a field: of an integer as a varint, of bytes as a string, a message or an entry of a map."""
    if isinstance(content, int):
        return number(tag << 3 | VARINT) + number(content)
    return number(tag << 3 | BYTES) + number(len(content)) + content


def entry(tag, key, value):
    """Returns an entry of a map from text to messages or bytes."""
    return field(tag, field(1, key.encode()) + field(2, value))


def fields(message, tag):
    """Returns the contents of all fields `tag` of a message, in order; fixed-size ones are passed over.

    Raises:
        ValueError: if it is not a message.
    """
    place, found = 0, []

    def varint():
        nonlocal place
        value = shift = 0
        while place < len(message):
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
        raise ValueError("a protocol buffer ends too early")

    while place < len(message):
        key = varint()
        kind = key & 7
        if kind == VARINT:
            content = varint()
        elif kind == BYTES:
            length = varint()
            content = message[place : place + length]
            place += length
        elif kind in (FIXED32, FIXED64):
            content = None
            place += 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"a protocol buffer has a field of the unknown kind {kind}")
        if key >> 3 == tag and content is not None:
            found.append(content)
    if place != len(message):
        raise ValueError("a protocol buffer ends too early")
    return found


def one(message, *tags):
    """Returns the last content of the field that a path of tags leads to, b"" where there is none."""
    for tag in tags:
        found = fields(message, tag)
        message = found[-1] if found else b""
    return message


def mapping(message, tag):
    """Returns a map from text to messages or bytes."""
    return {one(pair, 1).decode(): one(pair, 2) for pair in fields(message, tag)}
