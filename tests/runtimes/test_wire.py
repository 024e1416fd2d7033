"""What is written by hand is what Google's protocol buffers write and read."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from hmnas_tf.runtimes.wire import entry, field, fields, mapping, number, one

FIELD = descriptor_pb2.FieldDescriptorProto
FIELDS = {  # name: (tag, type, whether repeated); tags of one, two and three bytes
    "count": (1, FIELD.TYPE_UINT64, False),
    "texts": (2, FIELD.TYPE_BYTES, True),
    "single": (3, FIELD.TYPE_FLOAT, False),
    "double": (4, FIELD.TYPE_DOUBLE, False),
    "inner": (16, FIELD.TYPE_MESSAGE, False),
    "inners": (17, FIELD.TYPE_MESSAGE, True),
    "numbers": (3000, FIELD.TYPE_UINT64, True),
}
fuzz = settings(max_examples=100, deadline=None, database=None, derandomize=True)


def message_class() -> type:
    """Returns a message `Probe` of FIELDS and of `named`, a map from text to bytes, tag 5."""
    file = descriptor_pb2.FileDescriptorProto(name="probe.proto", package="probe", syntax="proto3")
    probe = file.message_type.add(name="Probe")
    for name, (tag, kind, repeated) in FIELDS.items():
        label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
        described = probe.field.add(name=name, number=tag, type=kind, label=label)
        if kind == FIELD.TYPE_MESSAGE:
            described.type_name = ".probe.Probe"
        if name == "numbers":
            described.options.packed = False
    pair = probe.nested_type.add(name="NamedEntry")
    pair.options.map_entry = True
    pair.field.add(name="key", number=1, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    pair.field.add(name="value", number=2, type=FIELD.TYPE_BYTES, label=FIELD.LABEL_OPTIONAL)
    probe.field.add(
        name="named",
        number=5,
        type=FIELD.TYPE_MESSAGE,
        label=FIELD.LABEL_REPEATED,
        type_name=".probe.Probe.NamedEntry",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("probe.Probe"))


Probe = message_class()
UINT64 = st.integers(0, 2**64 - 1)
SCALARS = {
    "count": UINT64,
    "texts": st.lists(st.binary(max_size=200), max_size=4),
    "single": st.floats(width=32),
    "double": st.floats(),
    "numbers": st.lists(UINT64, max_size=4),
    "named": st.dictionaries(st.text(max_size=5), st.binary(max_size=20), max_size=4),
}
INNER = st.fixed_dictionaries({}, optional=SCALARS).map(lambda values: Probe(**values))
PROBES = st.fixed_dictionaries(
    {}, optional=SCALARS | {"inner": INNER, "inners": st.lists(INNER, max_size=3)}
).map(lambda values: Probe(**values))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, b"\x00"),
        (1, b"\x01"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (300, b"\xac\x02"),
        (2**32, b"\x80" * 4 + b"\x10"),
    ],
)
def test_a_varint_has_seven_bits_a_byte_the_lowest_first(value, encoded):
    assert number(value) == encoded


@fuzz
@given(value=UINT64, text=st.binary(max_size=300), key=st.text(max_size=5))
def test_written_fields_are_the_bytes_that_google_writes(value, text, key):
    assert field(1, value) == (Probe(count=value).SerializeToString() or b"\x08\x00")  # which leaves out 0
    assert field(2, text) == Probe(texts=[text]).SerializeToString()
    assert field(3000, value) == Probe(numbers=[value]).SerializeToString()
    assert field(16, field(2, text)) == Probe(inner=Probe(texts=[text])).SerializeToString()
    assert Probe.FromString(entry(5, key, text)) == Probe(named={key: text})


@fuzz
@given(probe=PROBES)
def test_what_google_wrote_is_read(probe):
    """Fields of all kinds stand between those that are read, at any depth."""
    message = probe.SerializeToString()
    assert fields(message, 1) == ([probe.count] if probe.count else [])
    assert fields(message, 2) == list(probe.texts)
    assert fields(message, 3000) == list(probe.numbers)
    assert fields(message, 3) == fields(message, 4) == fields(message, 99) == []
    assert mapping(message, 5) == dict(probe.named)
    assert [fields(inner, 2) for inner in fields(message, 17)] == [
        list(inner.texts) for inner in probe.inners
    ]
    assert one(message, 2) == (probe.texts[-1] if probe.texts else b"")
    assert one(message, 16, 2) == (probe.inner.texts[-1] if probe.inner.texts else b"")
    assert one(message, 17, 5, 1) == one(one(one(message, 17), 5), 1)


@fuzz
@given(probe=PROBES, text=st.binary(max_size=20))
def test_the_last_of_several_contents_counts(probe, text):
    message = probe.SerializeToString() + Probe(inner=Probe(texts=[b"first", text])).SerializeToString()
    assert one(message, 16, 2) == text == Probe.FromString(message).inner.texts[-1]


@fuzz
@given(probe=PROBES, data=st.data())
def test_what_google_refuses_of_a_cut_message_is_refused(probe, data):
    """A cut between two fields leaves a message, any other does not."""
    message = probe.SerializeToString()
    part = message[: data.draw(st.integers(0, max(len(message) - 1, 0)))]
    try:
        expected = list(Probe.FromString(part).texts)
    except DecodeError:
        with pytest.raises(ValueError, match="ends too early"):
            fields(part, 2)
    else:
        assert fields(part, 2) == expected


@pytest.mark.parametrize(
    "whole", [b"\x08\xac\x02", b"\x12\x03abc", b"\x1d1234", b"\x2112345678", b"\xc2\xbb\x01\x01a"]
)
def test_every_cut_of_one_field_is_refused(whole):
    fields(whole, 1)
    for end in range(1, len(whole)):
        with pytest.raises(ValueError, match="a protocol buffer ends too early"):
            fields(whole[:end], 1)


@pytest.mark.parametrize("kind", [3, 4, 6, 7])
def test_fields_of_other_kinds_are_refused(kind):
    """Groups, which nobody writes any more, and what does not exist."""
    with pytest.raises(ValueError, match=f"a field of the unknown kind {kind}"):
        fields(bytes([1 << 3 | kind, 0]), 1)


@fuzz
@given(garbage=st.binary(max_size=40), tag=st.integers(1, 20))
def test_garbage_is_read_or_refused_and_nothing_else(garbage, tag):
    try:
        found = fields(garbage, tag)
    except ValueError as error:
        assert str(error).startswith("a protocol buffer ")
    else:
        assert all(isinstance(content, int | bytes) for content in found)
