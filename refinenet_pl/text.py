"""Numbers and lists as people read them."""

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches


def join(values: Iterable[object], limit: int | None = None) -> str:
    """Values separated by commas.

    Args:
        values: What to list.
        limit: Show at most this many, then how many more there are. None shows all.
    """
    words = [str(value) for value in values]
    if limit is None or len(words) <= limit:
        return ", ".join(words)
    return f"{', '.join(words[:limit])}, and {len(words) - limit} more"


def percent(fraction: float | None) -> str:
    """A fraction in percent with two decimals; a dash for None."""
    return "–" if fraction is None else f"{100 * fraction:.2f}"


def percent_interval(ends: Sequence[float] | None) -> str:
    """The two ends of an interval of fractions in percent; a dash for None."""
    return "–" if ends is None else " to ".join(map(percent, ends))


def duration(seconds: float | None) -> str:
    """A time in hours and minutes, minutes and seconds, or seconds; a question mark for None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours and not minutes:
        return f"{rest} s"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def markdown_text(text: str) -> str:
    """One line of text for Markdown, also in a table: names in it start no HTML, link, image, code or column.

    Stars and brackets that start no link stay as they are.
    """
    return re.sub(r"[\\`<|]|\](?=[(\[:])|&(?=#?\w+;)", r"\\\g<0>", " ".join(text.split()))


def plural(number: int, noun: str) -> str:
    """A number with its noun, such as "1 group" or "3 groups"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def nearest(name: str, names: Collection[str], prefix: str = "") -> str:
    """Return a question that names the most similar of `names`, or nothing if none is similar.

    Args:
        name: What was found.
        names: What there is.
        prefix: What stands before the name in the question.
    """
    # The words `model`, `data` and `trainer` alone would not be near to their options.
    sections = {".".join(word.split(".")[:-1]) for word in names if "." in word}
    similar = get_close_matches(name, [*names, *sections], n=1)
    return f"; did you mean {prefix}{similar[0]}?" if similar else ""


def with_help(message: str, command: str) -> str:
    """Return a message that ends with the help of a command."""
    return f"{message}{' See' if message.endswith('?') else '; see'} {command} --help"
