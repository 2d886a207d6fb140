"""A run watched over its training: what the gradient does, and at which strength, when and why a
training fails.

`survey` makes the *landscape* of a run: a record of plain data, with everything that was measured.
`tracking` trains the run again and measures on the way, `failure` looks for a constant strength at
which training fails, and `mechanism` decides why. `text` and `charts` show the record in words and
figures.

    incorruptible landscape RUN --strengths .1,.3,.6   # the whole of it, from the command line
"""
