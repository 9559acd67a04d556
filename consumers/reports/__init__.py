"""HTML reports: the pages, plots and film strips that they share."""
