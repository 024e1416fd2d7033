"""The page: its sections in order, and what surrounds them. No script, and nothing is loaded from anywhere."""

from __future__ import annotations

from collections.abc import Callable

from hmnas_tf.reporting import architecture, artifacts, budgets, head, mistakes, settings, sizes, training
from hmnas_tf.reporting.elements import Html, element, joined, terms
from hmnas_tf.reporting.facts import Facts
from hmnas_tf.reporting.style import STYLE
from hmnas_tf.reporting.words import GLOSSARY

# Enforced by the browser, whatever should find its way into the page.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _glossary(facts: Facts) -> Html:
    return terms(GLOSSARY.items())


SECTIONS: dict[
    str, tuple[str, Callable[[Facts], Html]]
] = {  # id, title and content; without content it is left out
    "stages": ("Stages", head.stages),
    "budgets": ("Asked and reached", budgets.budgets),
    "sizes": ("One supernet, several sizes", sizes.sizes),
    "cells": ("The cells that were found", architecture.cells),
    "architecture": ("The architecture in numbers", architecture.charts),
    "curves": ("How training went", training.curves),
    "importances": ("What the search preferred", training.importances),
    "files": ("Files", artifacts.files),
    "mistakes": ("Where the network is wrong", mistakes.mistakes),
    "commands": ("Use it, or repeat it", artifacts.commands),
    "settings": ("Settings, versions, machine", settings.settings),
    "words": ("Words", _glossary),
}


def page(facts: Facts) -> str:
    """Returns the report as the text of an HTML file."""
    made = {name: (title, content(facts)) for name, (title, content) in SECTIONS.items()}
    there = {name: section for name, section in made.items() if section[1]}
    contents = element(
        "nav",
        element(
            "ul", *(element("li", element("a", title, href=f"#{name}")) for name, (title, _) in there.items())
        ),
        aria_label="Sections",
    )
    sections = (
        element(
            "section",
            element("h2", title, id=f"{name}-title"),
            content,
            id=name,
            aria_labelledby=f"{name}-title",
        )
        for name, (title, content) in there.items()
    )
    body = element("body", head.head(facts), contents, element("main", *sections))
    return f"<!DOCTYPE html>\n{element('html', _head(facts), body, lang='en')}\n"


def _head(facts: Facts) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{facts.name}: HM-NAS report"),
        element("link", rel="icon", href="data:,"),
        joined(element("style", Html(STYLE))),
    )
