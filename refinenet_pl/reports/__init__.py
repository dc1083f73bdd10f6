"""Reports of studies: tables, plots and a page."""
