"""Which tensors of a network lie in hardware, and other values in their place for a while."""
