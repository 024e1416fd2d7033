"""What labels of arrays are taken for classes; everything else is refused in a line that says how to number them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hmnas_tf.data.class_names import clean_name, cleaning_notices

_NUMBER = "number the classes: names = numpy.unique(y_train); y = numpy.searchsorted(names, y)"
_FEW = 10  # so many classes may be rare; more of them that are as rare are no classes


class Labels(NamedTuple):
    """Labels of both parts as places in `class_names`, and what a user should know about how they were read."""

    y_train: np.ndarray  # integer [N]
    y_test: np.ndarray  # integer [M]
    class_names: tuple[str, ...]
    notices: tuple[str, ...]


def read_labels(
    y_train: np.ndarray, y_test: np.ndarray, class_names: Sequence[str] | None, where: str
) -> Labels:
    """Reads the labels of arrays as users have them.

    Args:
        y_train: [N] or [N, 1], whole numbers or strings.
        y_test: [M] or [M, 1], likewise.
        class_names: in the order of the labels. None takes the different labels of `y_train`, in their order: numbers
            other than 0..K-1 become places, and their digits the names.
        where: they are from, to begin a message with.

    Returns:
        Nothing of it grows with the largest label.

    Raises:
        ValueError: one line about what does not fit.
    """
    train, test = f"{where}: y_train", f"{where}: y_test"
    y_train, y_test = _plain(y_train, train), _plain(y_test, test)
    if not len(y_train):
        raise ValueError(f"{where}: x_train and y_train hold nothing; at least one image is needed")
    words = [labels.dtype.kind == "U" for labels in (y_train, y_test)]
    if not any(words):
        return _of_numbers(y_train, y_test, class_names, train, test)
    if not all(words):
        raise ValueError(
            f"{test if words[0] else train} holds numbers, but the other labels are strings; give both in one way"
        )
    notices: tuple[str, ...] = ()
    if class_names is None:
        _require_classes(y_train, train)
        notices = cleaning_notices(np.unique(y_train).tolist(), where)
    y_train, y_test = _clean(y_train), _clean(y_test)
    names = np.unique(y_train).tolist() if class_names is None else list(map(clean_name, class_names))
    order = np.array(names, np.str_)
    return Labels(_placed(y_train, order, train), _placed(y_test, order, test), tuple(names), notices)


def _of_numbers(
    y_train: np.ndarray, y_test: np.ndarray, class_names: Sequence[str] | None, train: str, test: str
) -> Labels:
    if class_names is not None:  # `ImageDataset` asks for 0..K-1
        return Labels(y_train, y_test, tuple(class_names), ())
    values = np.unique(y_train)
    if values[0] < 0:
        raise ValueError(
            f"{train}: labels must be whole numbers from 0 or strings, got {values[0]}..{values[-1]}; negative ones "
            f"often mark images without a label: leave those out, or {_NUMBER}"
        )
    names = tuple(str(value) for value in values.tolist())
    placed = _placed(y_train, values, train), _placed(y_test, values, test)
    if int(values[-1]) == len(values) - 1:  # 0..K-1 as they are: their kind of number is part of the version
        return Labels(y_train, y_test, names, ())
    _require_classes(y_train, train)
    notice = (
        f"{train} holds {len(values)} different numbers from {values[0]} to {values[-1]} and not 0..{len(values) - 1}: "
        "each is a class of its own, in this order, with the number for its name"
    )
    return Labels(*placed, names, (notice,))


def _plain(labels: np.ndarray, what: str) -> np.ndarray:
    """Returns labels [N], whole numbers or strings of dtype kind U."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # as keras.datasets gives them
    if labels.dtype.kind == "O" and all(isinstance(label, bytes) for label in labels.ravel()):
        labels = labels.astype("S")  # strings as TensorFlow hands them out
    if labels.dtype.kind == "T":  # NumPy 2's own strings
        labels = labels.astype(object)
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.ravel()):
        labels = labels.astype("U")
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{what} holds bytes that are no UTF-8 ({error.object[:40]!r}); decode them, as by "
                "numpy.char.decode(y, 'latin-1')"
            ) from error
    if labels.ndim == 1 and labels.dtype.kind in "iuU":
        return labels
    got = f"{labels.dtype} {list(labels.shape)}"
    if labels.ndim == 2:
        raise ValueError(
            f"{what} must be whole numbers or strings [N], got {got}; turn one-hot rows into numbers by y.argmax(1), "
            "in a tf.data pipeline by tf.argmax(y, -1)"
        )
    missing = [place for place, label in enumerate(labels.ravel().tolist()) if _is_missing(label)]
    if missing:
        raise ValueError(
            f"{what}: {len(missing):,} of {labels.size:,} labels are missing (None or NaN), the first that of image "
            f"{missing[0]}; leave those images out"
        )
    whole = labels.dtype.kind == "b" or (labels.dtype.kind == "f" and bool((labels % 1 == 0).all()))
    raise ValueError(
        f"{what} must be whole numbers or strings [N], got {got}; "
        + ("convert it: y.astype('int32')" if whole else _NUMBER)
    )


def _is_missing(label: Any) -> bool:
    """Returns whether a label is what NumPy or pandas have where there is none."""
    return (
        label is None
        or type(label).__name__ in ("NAType", "NaTType")
        or (isinstance(label, float) and label != label)
    )


def _clean(labels: np.ndarray) -> np.ndarray:
    """Returns strings [N] by `clean_name`, which is asked once for each different one."""
    if not labels.size:
        return labels
    values, places = np.unique(labels, return_inverse=True)
    return np.array([clean_name(value) for value in values.tolist()])[places.reshape(labels.shape)]


def _require_classes(labels: np.ndarray, what: str) -> None:
    """Refuses labels of which nearly every image has its own."""
    values = np.unique(labels).tolist()
    if len(values) > _FEW and 2 * len(values) > len(labels):
        raise ValueError(
            f"{what} holds {len(values)} different labels for {len(labels)} images, such as {values[0]!r} and "
            f"{values[-1]!r}: names, dates or measured values of single images are no classes; give each image the "
            f"label of its class or, if these are the classes, {_NUMBER}"
        )


def _placed(labels: np.ndarray, order: np.ndarray, what: str) -> np.ndarray:
    """Returns labels as their places in `order`, integers [N]."""
    rank = np.argsort(order, kind="stable")
    places = np.minimum(np.searchsorted(order[rank], labels), len(order) - 1)
    unknown = labels[order[rank][places] != labels] if len(order) else labels
    if len(unknown):
        first = min(unknown.tolist())
        if order.dtype.kind == "U":
            raise ValueError(
                f"{what} has the label {first!r}, which is none of the {len(order)} classes; add it to class_names, or "
                "images of it to the training set"
            )
        raise ValueError(
            f"{what} has label {first}, of which y_train has no image; add some, or remove the class"
        )
    return rank[places].astype(np.int32)
