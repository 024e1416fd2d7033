"""Which errors are the user's to mend, and what they say; TensorFlow is asked only where it is loaded."""

from __future__ import annotations

import errno
import re
import sys
import unicodedata

from hmnas_tf.console.paths import short

EXPECTED = (ValueError, ImportError, OSError, RuntimeError, MemoryError)  # one line, no traceback
SEPARATING = ("Cc", "Zl", "Zp")  # Unicode's categories of control characters, ends of lines and of paragraphs
OF_TENSORFLOW = (  # its words for a full disk or memory, a worker that is gone, and a damaged file
    "ResourceExhaustedError",
    "UnavailableError",
    "AbortedError",
    "DataLossError",
)
# Where in its graph something happened, in messages of TensorFlow.
_PLACE = re.compile(r"^\{\{.*?\}\} *|Error in .*Iterator::\S+: | *\[Op:.*")


def expected() -> tuple[type[Exception], ...]:
    """Returns the errors that are the user's to mend, TensorFlow's among them once it is loaded."""
    loaded = sys.modules.get("tensorflow")
    return (*EXPECTED, *(getattr(loaded.errors, name) for name in OF_TENSORFLOW)) if loaded else EXPECTED


def in_words(error: Exception) -> str:
    """Returns what went wrong; TensorFlow's own errors have every line of the program in them."""
    loaded = sys.modules.get("tensorflow")
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        longest = max(map(len, str(error.filename).split("/")))
        return f"{error.strerror}, {longest} characters: {short(str(error.filename))}; take a shorter one."
    if isinstance(error, MemoryError):
        return f"the memory of this machine is full ({error or 'no more was given'}): take fewer or smaller images."
    if loaded is None or not isinstance(error, loaded.errors.OpError):
        return str(error)
    if isinstance(error, loaded.errors.UnavailableError | loaded.errors.AbortedError):
        return (
            "another worker ended or cannot be reached: start the same command on all workers again, it goes on from "
            "the newest checkpoint."
        )
    return f"{type(error).__name__}: {without_place(error.message)[:300]}"


def without_place(message: str) -> str:
    """Returns the first line of a message of TensorFlow, which says what happened, without where in its graph."""
    return _PLACE.sub("", message.splitlines()[0])


def printable(line: str) -> str:
    """Returns a line that standard output takes: what it cannot encode, as in names of files, is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def in_a_line(text: str) -> str:
    """Returns a text, as with a file's name in it, whose line ends, tabs and other control characters are escaped."""
    return "".join(
        sign.encode("unicode_escape").decode() if unicodedata.category(sign) in SEPARATING else sign
        for sign in text
    )
