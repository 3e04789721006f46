"""The machinery under every experiment: it is handed an `Experiment`, and knows none by name."""
