"""Which networks are asked for: budgets as lists, and a name for each network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def networks(asked: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Returns the budgets of each network by its name, which names a folder; the smallest network stands first.

    Args:
        asked: values of each cost, by the name of its flag without `max_`. Lists of several costs have as many values
            each, and the n-th of all belong together; a single value is for all networks.

    Raises:
        ValueError: if there is no value, lists do not fit each other, a value is not above 0, or a network is asked for
            twice.

    >>> networks({"parameters": [30000, 10000], "latency_ms": [0.5]})["parameters_10000_latency_ms_0.5"]
    {'parameters': 10000, 'latency_ms': 0.5}
    """
    lists = {cost: list(values) for cost, values in asked.items() if values}
    if not lists:
        raise ValueError(
            "no budget is given: pass --max_parameters, --max_multiply_adds or --max_latency_ms, each a comma list."
        )
    count = max(map(len, lists.values()))
    for cost, values in lists.items():
        if min(values) <= 0:
            raise ValueError(f"max_{cost}={min(values)} is out of range: every number must be above 0.")
        if len(values) not in (1, count):
            raise ValueError(
                f"max_{cost} has {len(values)} values where another has {count}: give each as many, or one for "
                "all networks."
            )
    points = sorted(zip(*(values * (count // len(values)) for values in lists.values()), strict=True))
    found = {
        "_".join(f"{cost}_{value}" for cost, value in zip(lists, point, strict=True)): dict(
            zip(lists, point, strict=True)
        )
        for point in points
    }
    if len(found) < count:
        raise ValueError("a network is asked for twice: give each budget once.")
    return found
