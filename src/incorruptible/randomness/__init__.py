"""Random numbers that have a name: exact streams, and a bank that is faster for training."""
