"""What the run depended on: settings, versions, machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hmnas_tf.config import Config
from hmnas_tf.reporting.elements import Html, element, joined, table
from hmnas_tf.reporting.facts import Facts
from hmnas_tf.storage.run_folder import flag_lines, flag_values


def settings(facts: Facts) -> Html:
    """Returns all settings, folded away, with versions and machine."""
    given, defaults = (flag_values(flag_lines(config, facts.workdir)) for config in (facts.config, Config()))
    texts = {field.name: field.metadata["help"] for field in dataclasses.fields(Config)}
    changed = {name for name in texts if given[name] != defaults[name]}
    rows = [
        (
            joined("--", name),
            element("mark", given[name]) if name in changed else given[name],
            f"not the default {defaults[name]}" if name in changed else "",
            text,
        )
        for name, text in texts.items()
    ]
    return element(
        "details",
        element(
            "summary", f"{len(rows)} settings, {len(changed)} of them not the defaults; versions; machine"
        ),
        table("All settings", ("Flag", "Value", "Changed", "Meaning"), rows, words=4),
        *_circumstances(facts.results),
    )


def _circumstances(results: Mapping[str, Any]) -> list[Html]:
    tables = []
    if "versions" in results:
        tables.append(table("Versions", ("Package", "Version"), results["versions"].items(), words=2))
    machine = dict(results.get("machine", {}))
    if results.get("git_commit"):
        machine["git commit"] = results["git_commit"]
    if machine:
        rows = [(name, ", ".join(map(str, v)) if isinstance(v, list) else v) for name, v in machine.items()]
        tables.append(table("Machine", ("What", "Is"), rows, words=2))
    return tables
