"""Where the network is wrong: by class, and the images it is surest of."""

from __future__ import annotations

import numpy as np

from hmnas_tf.console.progress import counted
from hmnas_tf.drawing.confusion import confusion_matrix
from hmnas_tf.reporting.architecture import picture
from hmnas_tf.reporting.elements import Html, element, joined, table
from hmnas_tf.reporting.facts import Facts
from hmnas_tf.reporting.judgement import Judgement, thumbnail
from hmnas_tf.reporting.words import percent
from hmnas_tf.scoring.scores import BINS, scores

MOST_CLASSES = 100  # whose matrix can be seen
MOST_ROWS = 25  # of the table of classes
MOST_MISTAKES = 24
SHARES = {"precision": "Precision", "recall": "Recall", "f1": "F1"}  # keys of `scores`


def mistakes(facts: Facts) -> Html:
    """Returns confusion matrix, error by class and the surest mistakes, or why there are none."""
    judgement = facts.judgement
    if judgement is None:
        return element("p", facts.unjudged, class_="note") if facts.unjudged else Html()
    return joined(
        _confusion(facts, judgement),
        _by_class(facts, judgement),
        _all_together(judgement),
        _surest(facts, judgement),
    )


def _confusion(facts: Facts, judgement: Judgement) -> Html:
    if judgement.classes > MOST_CLASSES:
        return element("p", f"With {judgement.classes} classes the confusion matrix is too large to be seen.")
    return picture(
        confusion_matrix(judgement.confusion(), facts.class_names),
        title="Which classes are taken for which: rows are true, columns predicted",
        description=f"Of {counted(len(judgement.labels), 'test image')} {judgement.wrong():,} are taken for a wrong "
        "class.",
        key="confusion",
    )


def _by_class(facts: Facts, judgement: Judgement) -> Html:
    """Returns each class with its error and what it is taken for most; of many classes the worst."""
    counts = judgement.confusion()
    images = counts.sum(axis=1)
    wrong = images - np.diag(counts)
    errors = 100 * wrong / np.maximum(images, 1)
    order = (
        np.argsort(-errors, kind="stable")[:MOST_ROWS]
        if judgement.classes > MOST_ROWS
        else range(judgement.classes)
    )
    any_wrong = judgement.wrong() > 0
    found = scores(judgement.counts())
    rows = []
    for label in order:
        others = np.where(np.arange(judgement.classes) == label, 0, counts[label])
        taken_for = [f"{facts.class_names[others.argmax()]} ({others.max()})" if wrong[label] else "-"]
        error = percent(errors[label]) if images[label] else "no image"
        shares = (percent(found[name][label]) if images[label] else "" for name in SHARES)
        numbers = f"{images[label]:,}", f"{wrong[label]:,}", error, *shares
        rows.append((facts.class_names[label], *(taken_for if any_wrong else []), *numbers))
    caption = (
        "Error by class" if len(rows) == judgement.classes else f"Error of the {len(rows)} worst classes"
    )
    columns = (
        "Class",
        *(["Most often taken for"] if any_wrong else []),
        "Images",
        "Wrong",
        "Error",
        *SHARES.values(),
    )
    return table(caption, columns, rows, words=1 + any_wrong)


def _all_together(judgement: Judgement) -> Html:
    """Returns the means over the classes, and how far probabilities can be believed."""
    found = scores(judgement.counts())
    rows = [
        (f"{title}, mean over the classes", percent(found["macro"][name])) for name, title in SHARES.items()
    ]
    rows.append(("Expected calibration error", percent(found["calibration_error"])))
    return joined(
        table("All classes together", ("Measure", "Value"), rows),
        element(
            "p",
            "Precision: of the images taken for a class, the share that is of it. Recall: of the images of a class, "
            "the share that is found. F1: their harmonic mean. In the means each class counts alike, however few "
            "images it has. The calibration error is how far, on average, the probability of the predicted class is "
            f"from the share of such predictions that are right ({BINS} bins).",
        ),
    )


def _surest(facts: Facts, judgement: Judgement) -> Html:
    chosen = judgement.mistakes(MOST_MISTAKES)
    if not len(chosen):
        return element("p", "All test images are named rightly.")
    return joined(
        element("h3", "The surest mistakes"),
        element("ul", *(_mistake(facts, judgement, index) for index in chosen), class_="mistakes"),
    )


def _mistake(facts: Facts, judgement: Judgement, index: int) -> Html:
    true, predicted = (
        facts.class_names[classes[index]] for classes in (judgement.labels, judgement.predicted)
    )
    sure = f"{100 * judgement.probabilities[index]:.1f} %"
    image = element(
        "img",
        src=thumbnail(judgement.images[index]),
        alt=f"Test image {index}: {true}, taken for {predicted}",
    )
    words = element("p", element("strong", true), " taken for ", element("strong", predicted))
    return element("li", image, words, element("p", f"{sure} sure"))
