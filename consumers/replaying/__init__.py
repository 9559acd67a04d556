"""Run recorded footage through the live pipeline and score the result."""
