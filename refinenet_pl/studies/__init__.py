"""Studies: tables of experiments, from one yaml to a report."""
