"""Arms x seeds with a question and a verdict."""
