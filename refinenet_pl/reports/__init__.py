"""Reports on studies: what their runs found, as tables, plots and a page."""
