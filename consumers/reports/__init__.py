"""HTML reports: one base page and one style sheet for `replay`, `tune` and `evaluate`, and the words they share."""
