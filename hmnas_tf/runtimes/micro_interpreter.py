"""The interpreter of TensorFlow Lite for Microcontrollers, and how much memory it needs: also a process of its own.

python -m hmnas_tf.runtimes.micro_interpreter MODEL OUT: OUT, an `.npz`, gets `arena_bytes`, the least that the
interpreter can work in, and of it `activations` (tensors, planned) and `persistent` (its own notes on the model). All
of them as of this machine and the package's kernels, those of reference.
"""

import contextlib
import os
import pathlib
import re
import tempfile

import numpy as np

try:
    from tflite_micro import runtime
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema
except ImportError as error:
    raise ImportError("expected tflite_micro, missing tflite_micro; pip install 'hmnas_tf[micro]'") from error

from hmnas_tf.runtimes.__main__ import as_a_process

ALIGNMENT = 16  # bytes; the arena is used in multiples of it
FIRST = 1 << 12  # bytes that are tried first
MOST = 1 << 30  # bytes; no microcontroller has so many
UNKNOWN = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
PARTS = {"activations": "head", "persistent": "tail"}  # what it calls them


def main(path, out_path):
    content = pathlib.Path(path).read_bytes()
    least = arena_of(content)
    np.savez(out_path, arena_bytes=least, **parts_of(content, least))


def interpreter(content, arena_bytes):
    """Returns an interpreter with an arena, ready to be invoked.

    Raises:
        ValueError: if it does not know an operator, naming it.
        MemoryError: if the arena is too small.
    """
    with _overheard() as said, contextlib.suppress(RuntimeError):
        return runtime.Interpreter.from_bytes(content, arena_size=arena_bytes)
    unknown = sorted(set(UNKNOWN.findall(said())))
    if unknown:
        raise ValueError(
            f"TensorFlow Lite for Microcontrollers has no operator {', '.join(unknown)}: leave the layer that needs it "
            "out of the network, or export another format"
        )
    raise MemoryError(f"an arena of {arena_bytes} bytes is not enough: {' '.join(said().split())}")


def arena_of(content):
    """Returns the least bytes that the interpreter can work in.

    Raises:
        ValueError: if it does not know an operator.
        MemoryError: if it does not work whatever it is given.
    """
    least, most = 0, FIRST
    while not _works(content, most):
        if most >= MOST:
            break
        least, most = most, 2 * most
    expected = answer_of(content, 2 * most)  # or it says why not
    while most - least > ALIGNMENT:
        middle = (least + most) // (2 * ALIGNMENT) * ALIGNMENT
        if _works(content, middle, expected):
            most = middle
        else:
            least = middle
    return most


def parts_of(content, arena_bytes):
    """Returns the bytes of the parts of an arena, as the interpreter has recorded them."""
    recorded = interpreter(content, arena_bytes)
    with _overheard() as said:
        recorded.print_allocations()
    return {name: int(re.search(rf"allocation {own} (\d+)", said())[1]) for name, own in PARTS.items()}


def operators_of(content):
    """Returns how often a model has each operator, by its name and version."""
    model = schema.Model.GetRootAs(content, 0)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    counts = {}
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for position in range(graph.OperatorsLength()):
            code = model.OperatorCodes(graph.Operators(position).OpcodeIndex())
            key = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())], code.Version()
            counts[key] = counts.get(key, 0) + 1
    return counts


def _works(content, arena_bytes, expected=None):
    """Whether the interpreter works in an arena and answers noise as expected; tried in a process of its own.

    One that has too little may write past its end instead of saying so.
    """
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    code = 1
    with contextlib.suppress(MemoryError):
        answer = answer_of(content, arena_bytes)
        code = int(expected is not None and not np.array_equal(answer, expected))
    os._exit(code)


def answer_of(content, arena_bytes):
    """Returns what the interpreter with an arena makes of noise, int8."""
    ready = interpreter(content, arena_bytes)
    shape = ready.get_input_details(0)["shape"]
    ready.set_input(np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8), 0)
    ready.invoke()
    return ready.get_output(0)


@contextlib.contextmanager
def _overheard():
    """Yields a function that returns what has been written to the standard error output inside, by C++ too."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        texts = []

        def said():
            return texts[0]

        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))


if __name__ == "__main__":
    as_a_process(main)
