"""How things are written down: the grammar of the command line and of TOML files, and lengths of
time.
"""
