"""The results of a report in full precision, one record per row."""

from collections.abc import Sequence

from refinenet_pl.evaluation.error_parts import PARTS
from refinenet_pl.evaluation.results import defined, defined_interval
from refinenet_pl.reports.columns import published_difference
from refinenet_pl.reports.field_plot import SHARES
from refinenet_pl.reports.rows import Row
from refinenet_pl.reports.summary import DatasetSummary, Summary
from refinenet_pl.text import join

Record = dict[str, object]
"""Values of one row by column: metrics in 0..1, seconds, MB; None where there is no value."""


def row_records(summary: Summary) -> list[Record]:
    """Return one record per row. If there are several datasets, each column's name starts with its dataset."""
    records: list[Record] = [dict(row.levels) for row in summary.datasets[0].rows]
    for dataset in summary.datasets:
        prefix = "" if dataset.name is None else f"{dataset.name}: "
        for record, row in zip(records, dataset.rows, strict=True):
            values = {
                **_row_values(row, dataset),
                **_error_values(row, dataset),
                **_class_values(row, dataset.class_names),
            }
            record.update({f"{prefix}{key}": value for key, value in values.items()})
    for label, record in zip([row.label for row in summary.datasets[0].rows], records, strict=True):
        estimate = summary.joint.get(label)
        if summary.joint:
            ends = None if estimate is None else defined_interval(estimate.interval()[0].tolist())
            low, high = ends or (None, None)
            record["mean_difference"] = None if estimate is None else defined(float(estimate.value[0]))
            record |= {"mean_difference_low": low, "mean_difference_high": high}
            record["mean_difference_marked"] = summary.joint_marks.get(label)
    return records


def _row_values(row: Row, dataset: DatasetSummary) -> Record:
    metric, published = dataset.metric, row.published
    low, high = row.interval(metric) or (None, None)
    difference_low, difference_high = row.difference_interval(metric) or (None, None)
    return {
        "metric": metric,
        "mean": row.mean,
        "std": row.std,
        "low": low,
        "high": high,
        "last_validation": row.last_validation,
        "seeds": join(run.seed for run in row.runs),
        "values": join(row.values),
        "difference": row.difference,
        "difference_low": difference_low,
        "difference_high": difference_high,
        "difference_covers": row.compared and ("seeds and images" if row.compared.estimate.covers_seeds else "images"),
        "difference_seed_share": row.seed_share(metric),
        "difference_marked": None if row.compared is None else dataset.is_marked(row, metric),
        "published": published and published.value / 100,
        "published_evidence": published and published.evidence,
        "published_source": published and published.provenance,
        "ours_minus_published": published_difference(row),
        **vars(row.costs),
    }


def _error_values(row: Row, dataset: DatasetSummary) -> Record:
    """What each part of the errors takes from the mean IoU, and the radii of the receptive field in pixels."""
    values: Record = {}
    compared = None if row.compared is None else row.compared.errors
    for part, name in enumerate(PARTS):
        column = part * (len(dataset.class_names) + 1) + len(dataset.class_names)
        interval = None if compared is None else defined_interval(compared.interval()[column].tolist())
        low, high = interval or (None, None)
        values[f"errors {name}"] = defined(row.mean_errors[part])
        values[f"errors {name} difference"] = None if compared is None else defined(float(compared.value[column]))
        values[f"errors {name} low"], values[f"errors {name} high"] = low, high
    for share in SHARES:
        values[f"receptive field {100 * share:g} %"] = None if row.field is None else row.field.radius(share)
    values["receptive field reach"] = None if row.field is None else row.field.theoretical
    return values


def _class_values(row: Row, class_names: Sequence[str]) -> Record:
    values: Record = {}
    compared = None if row.compared is None else row.compared.as_dict()["per_class_iou"]
    for index, name in enumerate(class_names):
        entry = {} if compared is None else compared[name]
        low, high = entry.get("interval") or (None, None)
        values[f"iou {name}"] = None if row.scores is None else defined(float(row.scores.iou[index]))
        values[f"difference {name}"] = entry.get("difference")
        values[f"low {name}"], values[f"high {name}"] = low, high
    return values
