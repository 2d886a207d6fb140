"""How things are written down: the grammar of the command line and of TOML files, and lengths of
time.

A corruption, an objective, a schedule and a task can each be typed as a text such as
`mixture(gaussian-filter-max):low=0.5`. `grammar` takes such a text apart and writes it again;
`durations` reads and writes times since programming (`1h`, `1d`).

>>> from incorruptible.specs.grammar import split
>>> split("pcm-joshi:1:time=1d").fields
{'time': '1d'}
"""
