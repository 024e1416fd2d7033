"""What the commands share: a flag for every setting, and mistakes told in one line.

TensorFlow takes seconds to load, so nothing at the top of this file or of a command needs it: what is wrong with flags
is told before.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from absl import app, flags, logging

from hmnas_tf.config import Config
from hmnas_tf.console.flag_files import with_flag_files
from hmnas_tf.console.interruptions import stopped_by, told
from hmnas_tf.console.keras_settings import require_tensorflow
from hmnas_tf.console.mistakes import expected, in_words, printable
from hmnas_tf.console.paths import path_of, refuse_within
from hmnas_tf.console.progress import Say, silent
from hmnas_tf.console.quiet import quietly
from hmnas_tf.runs.choices import CHOICES, LISTS, check_names

if TYPE_CHECKING:
    from hmnas_tf.data import ImageDataset

FLAGS = flags.FLAGS
K, V = TypeVar("K"), TypeVar("V")
DATA_FLAGS = [
    "data_dir",
    "idx_dir",
    "download",
    "image_size",
    "augmentation",
    "train_examples",
    "test_examples",
    "holdout",
    "cache_dir",
    "seed",
]
KINDS = {  # of flags that hold no words
    flags.BooleanParser: "true or false",
    flags.IntegerParser: "a whole number",
    flags.FloatParser: "a number",
}


def load_tensorflow() -> None:
    """Loads TensorFlow and Keras, configured for these networks, quietly; call it when the flags are right."""
    with quietly():
        from hmnas_tf.runs.keras_defaults import begin
        from hmnas_tf.stages.strategy import configure_cpu

        begin()
        configure_cpu()


def define_workdir(text: str, flag_values: flags.FlagValues = FLAGS) -> None:
    """Makes the flag that every command has."""
    flags.DEFINE_string("workdir", None, text, flag_values=flag_values)


def define_flags(flag_values: flags.FlagValues = FLAGS) -> None:
    """Makes a flag of every setting of `Config`, and `--workdir`."""
    into = {"flag_values": flag_values}
    define_workdir("Run folder; made when missing, continued when it holds this run.", flag_values)
    for field in dataclasses.fields(Config):
        name, default, text = field.name, field.default, field.metadata["help"]
        low, high = field.metadata["low"], field.metadata["high"]
        if name in CHOICES:
            flags.DEFINE_enum(name, default, sorted(CHOICES[name]), text, **into)
        elif name in LISTS:
            flags.DEFINE_list(name, list(default), f"{text} Known: {', '.join(sorted(LISTS[name]))}.", **into)
        elif isinstance(default, bool):
            flags.DEFINE_bool(name, default, text, **into)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, default, text, lower_bound=low, upper_bound=high, **into)
        elif isinstance(default, float):
            flags.DEFINE_float(name, default, text, lower_bound=low, upper_bound=high, **into)
        else:
            flags.DEFINE_string(name, default, text, **into)


def config_of_flags(flag_values: flags.FlagValues = FLAGS) -> Config:
    """Returns the settings that the flags give."""
    values = {field.name: flag_values[field.name].value for field in dataclasses.fields(Config)}
    return Config(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


def settings() -> Config:
    """Returns the settings that the flags of a command that trains give; loads nothing that takes long.

    Raises:
        ValueError: naming what is wrong with them.
    """
    config = checked(FLAGS)
    refuse_within(config.dataset, path_of(FLAGS.workdir))
    return config


def given(config: Config) -> ImageDataset:
    """Returns the images that a command that trains is to use, with TensorFlow loaded.

    Raises:
        ValueError: naming what is wrong with images or devices.
    """
    load_tensorflow()
    from hmnas_tf.stages.strategy import find_devices

    find_devices(config.replicas)
    return images(config, say)


def refuse_workers() -> None:
    """Refuses several workers for a command that makes many runs, before they look for each other."""
    load_tensorflow()
    from hmnas_tf.stages.strategy import require_one_worker

    require_one_worker()


def checked(flag_values: flags.FlagValues) -> Config:
    """Returns the settings that flags give, with known names only.

    Raises:
        ValueError: naming what is wrong with them.
    """
    config = config_of_flags(flag_values)
    check_names(config)
    return config


def images(config: Config, say: Say = silent) -> ImageDataset:
    """Returns the images that settings name; `say` shows how far the reading is."""
    from hmnas_tf.data import load_dataset

    return load_dataset(config.dataset, **{name: getattr(config, name) for name in DATA_FLAGS}, say=say)


def start(command: str, work: Callable[[Path], int | None], *, goes_on: bool = True) -> None:
    """Parses the command line and does the work of a command.

    Anything that is the user's to mend is one line on standard error and exit code 2; so is being told to stop, with
    128 and the signal's number.

    Args:
        command: its name.
        work: does it, given the run folder; returns the exit code, None for 0.
        goes_on: whether it continues what it began when it is started again.
    """

    def main(argv: list[str]) -> int | None:
        logging.set_verbosity(logging.WARNING)  # the progress is ours to show, not the libraries'
        if len(argv) > 1:
            fail(command, f"{' '.join(argv[1:])!r} is no flag: every setting is given as --name=value.")
        if not FLAGS.workdir:
            fail(command, "--workdir is missing: name the folder that the run is to be kept in.")
        try:
            require_tensorflow()
            return work(path_of(FLAGS.workdir, "workdir"))
        except Exception as error:
            if stopped_by(error) or not isinstance(error, expected()):
                raise
            fail(command, in_words(error))

    for module, own in FLAGS.flags_by_module_dict().items():  # --help shows them, whoever started the command
        for flag in own if module.partition(".")[0] == "hmnas_tf" else ():
            FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a file's name need not be text
    again = "Start the same command again: it goes on from what is kept." if goes_on else "Start it again."
    with told(functools.partial(complain, command), again):
        app.run(main, flags_parser=functools.partial(parse, command))


def parse(command: str, argv: list[str]) -> list[str]:
    """Parses the command line and returns the words that are no flags; a bad flag is one line and exit code 2."""
    try:
        words = FLAGS([argv[0], *with_flag_files(argv[1:])])
    except (flags.Error, ValueError) as error:
        fail(command, of_flag(error, FLAGS))
    if "tensorflow" in sys.modules:  # of a program that loaded it: absl has it look for GPUs right after this
        load_tensorflow()
    return words


def of_flag(error: Exception, flag_values: flags.FlagValues) -> str:
    """Returns what is wrong with a flag; of numbers and booleans absl only tells what Python says."""
    missing = re.fullmatch(r"Missing value for flag --(\w+)", str(error))
    if missing:
        return f"flag --{missing[1]} has no value: pass it as in --{missing[1]}=VALUE."
    found = re.match(r"flag --(\w+)=(.*): ", str(error), re.DOTALL)
    if not isinstance(error, flags.IllegalFlagValueError) or not found or found[1] not in flag_values:
        return str(error)
    name, parser = found[1], flag_values[found[1]].parser
    value = str(error).removeprefix(f"flag --{name}=").removesuffix(f": {error.__context__}")
    expected = [word for kind, word in KINDS.items() if isinstance(parser, kind)]
    if not expected:
        return str(error)
    for bound, word in (("lower_bound", "at least"), ("upper_bound", "at most")):
        if getattr(parser, bound, None) is not None:
            expected.append(f"{word} {getattr(parser, bound)}")
    example = f"--{name}={flag_values[name].default}".lower()
    return (
        f"flag --{name}={value}: expected {', '.join(expected)}, received {value!r}: pass it as in {example}."
    )


def say(line: str) -> None:
    """Shows a line of progress at once."""
    print(printable(line), flush=True)


def aside(line: str) -> None:
    """Shows a line of progress on standard error, for commands whose standard output others may read."""
    print(line, file=sys.stderr, flush=True)


def show(
    command: str,
    outcomes: Iterable[tuple[K, V | Exception]],
    line: Callable[[K, V], str],
    *,
    many: bool = False,
) -> int:
    """Shows a line for each outcome, on standard error for each that went wrong; returns the exit code, then 2.

    Where there are `many`, a last line counts those that went wrong.
    """
    total = wrong = 0
    for key, outcome in outcomes:
        total += 1
        if isinstance(outcome, Exception):
            complain(command, outcome)
            wrong += 1
        else:
            say(line(key, outcome))
    if wrong and total > 1 and many:
        aside(f"{command}: {wrong:,} of {total:,} went wrong and are named above; the others are done.")
    return 2 if wrong else 0


def fail(command: str, message: object) -> NoReturn:
    """Ends a command with one line on standard error."""
    complain(command, message)
    sys.exit(2)


def complain(command: str, message: object) -> None:
    """Shows one line on standard error."""
    print(f"hmnas_tf.{command}: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
