"""Reading and writing results whole or not at all, and what they were made with."""
