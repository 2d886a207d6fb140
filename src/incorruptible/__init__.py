"""Networks whose weights may go wrong."""
