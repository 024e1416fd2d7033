"""Settings that contradict each other."""

from __future__ import annotations

from typing import Any


def check_together(settings: Any) -> None:
    """Refuses settings of a search that exclude each other, whatever the data are.

    Args:
        settings: a `Config`.

    Raises:
        ValueError: naming both settings, the value and what to do.
    """
    if settings.validation_fraction and settings.warmup_epochs >= settings.supernet_epochs:
        raise ValueError(
            f"warmup_epochs={settings.warmup_epochs} leaves no epoch of supernet_epochs={settings.supernet_epochs} to "
            "train alpha and beta in: make it smaller."
        )
    if settings.operation_gradient != "mixed" and settings.architecture_gradient == "second_order":
        raise ValueError(
            f"operation_gradient={settings.operation_gradient!r} and architecture_gradient='second_order' contradict "
            "each other: the unrolled step is that of the mixed gradient; take 'first_order'."
        )
    for name in ("initial_channels", "evaluation_channels"):
        if getattr(settings, name) % 2:
            raise ValueError(
                f"{name}={getattr(settings, name)} is odd, but a factorized reduce splits channels into halves: make "
                "it even."
            )
        if getattr(settings, name) % (2 * settings.partial_channels):
            raise ValueError(
                f"{name}={getattr(settings, name)} cannot be split by partial_channels={settings.partial_channels} "
                f"into even parts: take a multiple of {2 * settings.partial_channels}."
            )
    if settings.initial_weights == "inherited":
        for name in ("genotype", "evaluation_cells", "evaluation_channels"):
            if getattr(settings, name):
                raise ValueError(
                    f"{name}={getattr(settings, name)!r} makes a network that can inherit no weights: pass "
                    "initial_weights='random' with it."
                )
    _check_fine_tuning(settings)
    for name in ("operations", "formats", "quantize", "augmentation"):
        value = getattr(settings, name)
        if not value or len(set(value)) != len(value):
            raise ValueError(
                f"{name}={','.join(value)!r} must be a comma list of different names, at least one."
            )
    if settings.budgets:
        _check_budgets(settings)


def _check_fine_tuning(settings: Any) -> None:
    """Refuses to choose an epoch without images to choose by, and a rate that never ends rising."""
    if settings.keep == "best" and not settings.holdout:
        raise ValueError(
            "keep='best' chooses an epoch by its error on images held out, never on test images, and holdout=0 holds "
            "out none: pass holdout=0.2 with it, or take keep='last'."
        )
    never = not settings.evaluate_every or settings.evaluate_every > settings.finetune_epochs > 0
    if settings.keep == "best" and never:
        raise ValueError(
            f"keep='best' and evaluate_every={settings.evaluate_every} contradict each other: an epoch that is not "
            "measured cannot be chosen; take evaluate_every=1."
        )
    if settings.patience and settings.keep != "best":
        raise ValueError(
            f"patience={settings.patience} and keep={settings.keep!r} contradict each other: it ends with epochs that "
            "were no better; pass keep='best', which takes the weights from before them."
        )
    if settings.finetune_epochs and settings.finetune_warmup_epochs >= settings.finetune_epochs:
        raise ValueError(
            f"finetune_warmup_epochs={settings.finetune_warmup_epochs} leaves no epoch of finetune_epochs="
            f"{settings.finetune_epochs} after it: make it smaller."
        )


def _check_budgets(settings: Any) -> None:
    """Refuses budgets that nothing could keep: they are met by learned masks, or by the width of new cells."""
    name = f"max_{next(iter(settings.budgets))}"
    wanted = f"{name}={getattr(settings, name)}"
    by_masks = settings.derivation == "masks"
    contradicting = [
        ("genotype", "", "a given architecture has the size it has: leave the budget out"),
        ("operation_price", 0.0, "the budget sets prices itself: leave the price out"),
        ("partial_channels", 1, "channels that pass operations by cannot be masked: leave it at 1"),
        ("evaluation_channels", 0, "the budget says how wide the network is: leave it at 0"),
    ]
    if by_masks:
        contradicting.append(("evaluation_cells", 0, "the budget is of the searched network: leave it at 0"))
    for setting, plain, remedy in contradicting:
        value = getattr(settings, setting)
        if value != plain:
            raise ValueError(f"{wanted} and {setting}={value!r} contradict each other: {remedy}.")
    if settings.max_latency_ms and settings.latency_runtime not in settings.formats:
        raise ValueError(
            f"max_latency_ms={settings.max_latency_ms} is measured on the exported file, but formats="
            f"{','.join(settings.formats)!r} has no {settings.latency_runtime}: add it."
        )
    if not by_masks and settings.initial_weights != "random":
        raise ValueError(
            f"{wanted} and derivation={settings.derivation!r} contradict each other: only learned masks can meet a "
            "budget with inherited weights; take derivation='masks', or initial_weights='random' to have the cells "
            "made as wide as the budget allows."
        )
    if not by_masks and settings.max_latency_ms:
        raise ValueError(
            f"max_latency_ms={settings.max_latency_ms} and derivation={settings.derivation!r} contradict each other: "
            "only learned masks can meet a budget of milliseconds; take derivation='masks', or another budget."
        )
