"""Numbers as a reader likes them, and what the few terms mean."""

from __future__ import annotations

from datetime import datetime


def size(count: int) -> str:
    """Returns a number of bytes in kB or MB, of 1000."""
    return f"{count / 1e6:,.2f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"


def short(count: int) -> str:
    """Returns a large number in three digits: 68.3 k, 2.52 M."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return (
                f"{count / factor:.3g} {letter}"
                if count < 999.5 * factor
                else f"{count / factor:,.0f} {letter}"
            )
    return str(count)


def percent(value: float) -> str:
    """Returns an error in percent."""
    return f"{value:.2f} %"


def date(when: datetime, *, minutes: bool = False) -> str:
    """Returns a date, with hour and minute if wanted."""
    day = f"{when.day} {when:%B %Y}"
    return f"{day}, {when:%H:%M} UTC" if minutes else day


GLOSSARY = {
    "Supernet": "A network that holds every candidate architecture at once: between any two nodes of a cell, all "
    "candidate operations work side by side. It is trained first, and the result is cut out of it.",
    "Cell, node, edge": "The network is a stack of cells. A cell reads the outputs of the two cells before it (inputs "
    "0 and 1). Its nodes add up what their incoming edges bring, and an edge carries the sum of its operations. A "
    "reduction cell halves height and width, a normal cell keeps them.",
    "Importance of an operation (alpha)": "A learned weight of each operation on an edge, shown after a softmax: those "
    "of one edge add up to 1.",
    "Importance of an edge (beta)": "A learned weight of each edge into a node, shown after a softmax.",
    "Mask": "A learned switch. Operations, edges and single weights have one each; where it falls to the threshold, "
    "what it stands for is removed.",
    "Density": "The share of the weights that masks have left, in percent.",
    "Fine-tuning": "More training of what is left, starting from the weights it has.",
    "Test error": "The share of test images, never trained on, that are taken for a wrong class.",
    "Multiply-adds": "Multiplications with an addition that one image costs; a rough measure of time.",
    "Folded": "Rewritten for use: normalisation and importances are multiplied into the weights. It computes the same.",
}
