"""SavedModels, in TensorFlow's C library: the loader that TF Serving uses, without TensorFlow's Python or Keras.

There is no package of TF Serving to test with. It loads a version by `LoadSavedModel` and runs a session on the tensor
names that a signature gives; so does this. (TensorFlow, c_api.h and meta_graph.proto.)
"""

import ctypes
import importlib.util
import io
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np

from hmnas_tf.runtimes.pictures import framed
from hmnas_tf.runtimes.serving_requests import CLASSIFY, STRING, TYPES, example, records, request
from hmnas_tf.runtimes.wire import mapping, one

LABELLING = "assets.extra/labelling.json"
WARMUP = "assets.extra/tf_serving_warmup_requests"
MOST_WARMUP_RECORDS = 1000  # with more, TF Serving refuses the version
STRING_BYTES = 24  # sizeof(TF_TString)


class _Buffer(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("length", c_size_t), ("release", c_void_p))


class _Output(ctypes.Structure):
    _fields_ = (("operation", c_void_p), ("index", c_int))


FUNCTIONS = {  # name: (result, arguments)
    "AllocateTensor": (c_void_p, c_int, POINTER(c_int64), c_int, c_size_t),
    "DeleteTensor": (None, c_void_p),
    "Dim": (c_int64, c_void_p, c_int),
    "GetCode": (c_int, c_void_p),
    "GraphOperationByName": (c_void_p, c_void_p, c_char_p),
    "LoadSessionFromSavedModel": (
        c_void_p, c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(_Buffer), c_void_p,
    ),
    "Message": (c_char_p, c_void_p),
    "NewBuffer": (POINTER(_Buffer),),
    "NewGraph": (c_void_p,),
    "NewSessionOptions": (c_void_p,),
    "NewStatus": (c_void_p,),
    "NumDims": (c_int, c_void_p),
    "SessionRun": (
        None, c_void_p, c_void_p, POINTER(_Output), POINTER(c_void_p), c_int, POINTER(_Output), POINTER(c_void_p),
        c_int, POINTER(c_void_p), c_int, c_void_p, c_void_p,
    ),
    "StringCopy": (None, c_void_p, c_char_p, c_size_t),
    "StringGetDataPointer": (c_void_p, c_void_p),
    "StringGetSize": (c_size_t, c_void_p),
    "StringInit": (None, c_void_p),
    "TensorByteSize": (c_size_t, c_void_p),
    "TensorData": (c_void_p, c_void_p),
    "TensorType": (c_int, c_void_p),
}  # fmt: skip


class _Library:
    """TensorFlow's C functions, without their `TF_`, and the tensors they take."""

    def __init__(self):
        folder = Path(importlib.util.find_spec("tensorflow").origin).parent  # found, not imported
        ctypes.CDLL(f"{folder}/libtensorflow_framework.so.2", mode=ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(f"{folder}/libtensorflow_cc.so.2", mode=ctypes.RTLD_GLOBAL)
        for name, (result, *arguments) in FUNCTIONS.items():
            function = getattr(library, f"TF_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def tensor(self, value):
        """Returns a new TF_Tensor of an array, or of a list of byte strings."""
        if isinstance(value, list):
            tensor = self.AllocateTensor(STRING, (c_int64 * 1)(len(value)), 1, STRING_BYTES * len(value))
            for place, text in enumerate(value):
                address = self.TensorData(tensor) + STRING_BYTES * place
                self.StringInit(address)
                self.StringCopy(address, text, len(text))
            return tensor
        value = np.ascontiguousarray(value)
        (kind,) = (code for code, dtype in TYPES.items() if dtype == value.dtype)
        tensor = self.AllocateTensor(kind, (c_int64 * value.ndim)(*value.shape), value.ndim, value.nbytes)
        ctypes.memmove(self.TensorData(tensor), value.ctypes.data, value.nbytes)
        return tensor

    def array(self, tensor):
        """Returns the content of a TF_Tensor, strings as an array of bytes objects."""
        shape = [self.Dim(tensor, axis) for axis in range(self.NumDims(tensor))]
        start = self.TensorData(tensor)
        if self.TensorType(tensor) == STRING:
            places = (start + STRING_BYTES * place for place in range(int(np.prod(shape))))
            texts = [ctypes.string_at(self.StringGetDataPointer(p), self.StringGetSize(p)) for p in places]
            return np.array(texts, object).reshape(shape)
        content = ctypes.string_at(start, self.TensorByteSize(tensor))
        return np.frombuffer(content, TYPES[self.TensorType(tensor)]).reshape(shape)


class Artifact:
    """One version of a servable.

    Attributes:
        labelling: JSON text beside the graph.
        signatures: for each signature the names of its inputs and of its outputs with the tensors they stand for.
    """

    def __init__(self, path):
        self._path = path
        library = self._library = _Library()
        self._status, self._graph, meta_graph = library.NewStatus(), library.NewGraph(), library.NewBuffer()
        self._session = library.LoadSessionFromSavedModel(
            library.NewSessionOptions(), None, str(path).encode(), (c_char_p * 1)(b"serve"), 1, self._graph,
            meta_graph, self._status,
        )  # fmt: skip
        self._require_success()
        content = ctypes.string_at(meta_graph.contents.data, meta_graph.contents.length)
        self.signatures = _signatures(content)
        self.labelling = Path(path, LABELLING).read_text(encoding="utf-8")

    def predict(self, images):
        """Returns logits float32 [B, classes] of normalised images float32 [B, H, W, C]."""
        return self.run("serving_default", image=images)["logits"]

    def run(self, signature, **inputs):
        """Returns the outputs of a signature; inputs are arrays or, as strings, lists of bytes."""
        names, results = self.signatures[signature]
        if set(names) != set(inputs):
            raise ValueError(f"{signature}: expected the inputs {sorted(names)}, received {sorted(inputs)}")
        feeds = (_Output * len(inputs))(*(self._place(names[name]) for name in inputs))
        fetches = (_Output * len(results))(*map(self._place, results.values()))
        given = (c_void_p * len(inputs))(*map(self._library.tensor, inputs.values()))
        made = (c_void_p * len(results))()
        self._library.SessionRun(
            self._session, None, feeds, given, len(inputs), fetches, made, len(results), None, 0, None, self._status
        )  # fmt: skip
        try:
            self._require_success()
            return {name: self._library.array(tensor) for name, tensor in zip(results, made, strict=True)}
        finally:
            for tensor in (*given, *filter(None, made)):
                self._library.DeleteTensor(tensor)

    def examine(self, pixels):
        """Shows uint8 images [B, H, W, C] to every endpoint and replays the warm-up requests, as TF Serving would.

        Returns:
            Outputs of the endpoints under `signature:output`, strings as UTF-8.

        Raises:
            ValueError: if an endpoint has other inputs, or a warm-up request gives other than one finite row an image.
        """
        shown = {"serving_uint8": {"image": pixels}}
        if "serving_bytes" in self.signatures:
            files = [_png(image) for image in framed(pixels, self.labelling)]
            shown |= {
                "serving_bytes": {"image_bytes": files},
                CLASSIFY: {"inputs": list(map(example, files))},
            }
        found = {
            f"{signature}:{name}": value.astype("S") if value.dtype == object else value
            for signature, inputs in shown.items()
            for name, value in self.run(signature, **inputs).items()
        }
        return found | {"warmup_records": self._warm_up()}

    def _warm_up(self):
        count = 0
        for count, record in enumerate(records(Path(self._path, WARMUP)), 1):
            signature, inputs = request(record)
            rows = len(next(iter(inputs.values())))
            for name, value in self.run(signature, **inputs).items():
                if len(value) != rows or (value.dtype != object and not np.isfinite(value).all()):
                    raise ValueError(
                        f"warm-up request {count} of {signature}: {name} is not {rows} finite rows"
                    )
        if not 0 < count <= MOST_WARMUP_RECORDS:
            raise ValueError(f"expected 1 to {MOST_WARMUP_RECORDS} warm-up requests, received {count}")
        return count

    def _place(self, tensor_name):
        operation, _, index = tensor_name.partition(":")
        return _Output(self._library.GraphOperationByName(self._graph, operation.encode()), int(index))

    def _require_success(self):
        if self._library.GetCode(self._status):
            raise RuntimeError(self._library.Message(self._status).decode("utf-8", "replace"))


def _png(pixels):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def _signatures(meta_graph):
    """Returns for each signature of a serialised MetaGraphDef the tensor names of its inputs and of its outputs."""
    # MetaGraphDef.signature_def; SignatureDef.inputs and outputs; TensorInfo.name
    definitions = mapping(meta_graph, 5)
    return {
        name: tuple(
            {key: one(info, 1).decode() for key, info in mapping(definition, tag).items()} for tag in (1, 2)
        )
        for name, definition in definitions.items()
    }


load = Artifact
