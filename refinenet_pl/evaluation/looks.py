"""Several looks at growing results: seeds are added to a row until its interval is narrow enough.

Whoever looks again after each new seed, and stops when it suits, marks more differences by chance than one look does.
So the risk is divided: each look may mark by chance with the share of the risk that its new seeds are of the most
seeds that a row may have (Bonferroni's inequality; in the terms of Lan and DeMets, 1983, a linear spending function).
All looks together then err with the risk of one look, whatever stops them.
"""

from refinenet_pl.evaluation.intervals import LEVEL


def look_level(first: int, seeds: int, most: int, level: float = LEVEL) -> float:
    """Return the level of the stars of a row, so that all of its looks together keep `level`.

    Args:
        first: Seeds at the first look.
        seeds: Seeds at this look. After the first look, each look has one more.
        most: Most seeds of a row.
        level: The level of all looks together.
    """
    new = first if seeds <= first else 1
    return 1 - (1 - level) * new / max(most, seeds)
