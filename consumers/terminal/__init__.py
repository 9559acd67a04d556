"""What a person sees in a terminal: the live view, progress bars, the demo."""
