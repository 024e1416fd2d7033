"""The top of a report: what was found, in large figures and in a sentence, or how far the run has come."""

from __future__ import annotations

from hmnas_tf.console.progress import counted
from hmnas_tf.reporting.elements import Html, element, joined, table
from hmnas_tf.reporting.facts import Facts
from hmnas_tf.reporting.results_table import COLUMNS, ROWS, stage_rows
from hmnas_tf.reporting.words import date, percent, short, size
from hmnas_tf.space.topology import Topology, first_of_groups, sharing_groups

EXPORT = "export"  # the last step, after the stages


def head(facts: Facts) -> Html:
    """Returns the heading with what matters most."""
    title = element("h1", facts.name)
    return element(
        "header",
        title,
        _origin(facts),
        state(facts),
        _figures(facts),
        element("p", found(facts), class_="found"),
    )


def _origin(facts: Facts) -> Html:
    data = facts.results.get("dataset")
    parts: list[object] = [f"Data: {facts.config.dataset}"]
    if data:
        height, width, channels = data["image_shape"]
        parts.append(
            f"{counted(data['train_examples'], 'training image')}, {counted(data['test_examples'], 'test image')} of "
            f"{height} x {width} x {channels} in {len(data['class_names'])} classes"
        )
    if facts.trained:
        parts.append(f"trained until {date(facts.trained)}")
    parts.append(f"report of {date(facts.written, minutes=True)}")
    return element("p", " · ".join(parts), class_="origin")


def state(facts: Facts) -> Html:
    """Returns a remark that the run is not finished and where it stands; nothing of a finished one."""
    if facts.finished:
        return Html()
    now = next((stage for stage in facts.progress if not stage.done), None)
    where = (
        f"It is in {now.title}: {now.epochs} of {counted(now.planned, 'epoch')} are done."
        if now
        else f"All stages are done, its {EXPORT} is not."
    )
    return element(
        "p",
        element("strong", "This run is not finished."),
        f" {where} The report has what there is yet; python -m hmnas_tf.report writes it again.",
        class_="note",
    )


def _figures(facts: Facts) -> Html:
    """Returns the large figures: of the last stage that is recorded."""
    if not facts.stages:
        return Html()
    key, title = [row for row in ROWS if row[0] in facts.stages][-1]
    last = facts.stages[key]
    tiles = [
        ("test error" if key == "finetuned" else f"test error, {title.lower()}", percent(last["test_error"])),
        ("parameters", short(last["params"])),
        ("multiply-adds an image", short(last["flops"])),
    ]
    artifact = facts.results.get("artifacts", {}).get("keras_folded")
    if artifact:
        tiles.append(("file, folded", size(artifact["bytes"])))
    return element(
        "ul",
        *(
            element("li", element("span", value, class_="value"), " ", element("span", name))
            for name, value in tiles
        ),
        class_="figures",
    )


def found(facts: Facts) -> str:
    """Returns in plain words what was found as far as the run has come."""
    sentences = []
    stages = facts.stages
    if facts.genotype:
        sentences.append(kept(facts))
    last = stages.get("finetuned") or stages.get("searched")
    if last and "supernet" in stages:
        change = 100 * (1 - last["params"] / stages["supernet"]["params"])
        words = "fewer" if change >= 0 else "more"
        sentences.append(f"The network has {abs(change):.0f} % {words} parameters than the supernet.")
    if "finetuned" in stages:
        beside = (
            f", after {percent(stages['supernet']['test_error'])} of the supernet"
            if "supernet" in stages
            else ""
        )
        sentences.append(f"Its test error is {percent(stages['finetuned']['test_error'])}{beside}.")
    elif "searched" in stages:
        sentences.append(f"Before fine-tuning its test error is {percent(stages['searched']['test_error'])}.")
    elif "supernet" in stages:
        sentences.append(
            f"The supernet is trained, with a test error of {percent(stages['supernet']['test_error'])}; "
            "nothing has been cut from it yet."
        )
    return " ".join(sentences) or "Nothing has been found yet."


def kept(facts: Facts) -> str:
    """Returns what is left of edges and operations, counted in every cell and, if cells share masks, by masks too."""
    genotype, topology = facts.genotype, facts.genotype.topology
    if facts.config.searches:
        what = "search"
    else:
        what = "given architecture" if facts.config.genotype else "random architecture"
    everywhere = f" in all {topology.cells} cells" if topology.cells > 1 else ""
    total = genotype.count()
    sentence = f"The {what} kept {_of(topology, topology.cells, 'candidate ', **total)}{everywhere}."
    groups = sharing_groups(topology.plans, facts.config.cell_sharing)
    built = genotype.needed_cells()
    first = first_of_groups(groups, built)
    if len(first) == len(built) or not any(row.get("operations") for row in facts.rows):
        return sentence
    once = _of(topology, len(first), **genotype.count(first))
    return f"{sentence} Some cells share their masks: counted once, as in mask search, that is {once}."


def _of(topology: Topology, cells: int, kind: str = "", *, edges: int, operations: int) -> str:
    """Returns numbers of edges and operations beside those that so many cells have."""
    most = len(topology.edges) * cells
    all_operations = counted(most * len(topology.operations), f"{kind}operation")
    return f"{edges:,} of {counted(most, 'edge')} and {operations:,} of {all_operations}"


def stages(facts: Facts) -> Html:
    """Returns the table of stages (Table 3), and while the run goes on how far each stage has come."""
    parts = []
    if facts.stages:
        parts.append(
            table(
                "The stages, as in the paper's Table 3",
                [name.capitalize() for name in COLUMNS],
                stage_rows(facts.results),
            )
        )
    if not facts.finished:
        rows = [
            (stage.title, _progress(stage.done, stage.epochs), f"{stage.epochs} of {stage.planned}")
            for stage in facts.progress
        ]
        parts.append(
            table(
                "How far the run has come",
                ("Stage", "State", "Epochs"),
                [*rows, (EXPORT, "not begun", "")],
                words=2,
            )
        )
    return joined(*parts)


def _progress(done: bool, epochs: int) -> str:
    return "done" if done else "in progress" if epochs else "not begun"
