"""Studies: a question, arms x seeds that are trained and measured, and a verdict for each claim.

A study is a TOML file (`spec`). Its *arms* are the trainings that are compared; each is repeated
over seeds. `plan` turns the file into a list of jobs in a folder, `run` starts a supervisor and
workers that do the jobs, `outcomes` and `evidence` read the results back as arrays, and the `rules`
decide the claims. Everything lies in files, so a study can be killed at any time and goes on where
it was.

    from pathlib import Path
    from incorruptible.studies.results import summary
    from incorruptible.studies.run import run

    folder = run("digits", Path("runs"))
    print(summary(folder)["claims"])
"""
