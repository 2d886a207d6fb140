"""The benchmark: what hardening and measuring cost, compared with plain training, with a clean pass, and with other packages.

A *variant* is one way to do a piece of work, such as a training step. The variants of a *group* take turns, so that each is timed
under the same conditions, and each is compared with the group's first variant. `python -m benchmarks` runs all groups; other packages
that are compared are *peers*.
"""
