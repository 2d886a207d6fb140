"""`python -m incorruptible` is the command line."""

from .cli import run

run()
