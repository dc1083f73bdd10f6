"""Studies: tables of experiments, from their YAML to the runs of their cells."""
