"""Courses: what the landscape's instrument sees along a training, and at which strength, when and why trainings fail."""
