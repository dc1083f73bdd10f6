"""Studies: tables of experiments, from a yaml to the runs of its cells."""
