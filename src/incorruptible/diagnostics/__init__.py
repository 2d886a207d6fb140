"""A run watched over its training: what the gradient does, and at which strength, when and why
trainings fail.
"""
