"""Random numbers that are found by name.

A number in this package does not come from a generator that runs on from call to call. It is
determined by a seed, a purpose (such as "train" or "test"), the index of the chip, and the name
of the array. So chip 3 is the same chip whatever was drawn before, at every strength, on every
device, and in every model that shares the array's name. `streams` draws exact normal and uniform
numbers; `bank` is a faster source of normal numbers for training.

>>> import torch
>>> from incorruptible.randomness.streams import Draw
>>> weight = torch.zeros(2, 2)
>>> one, again = (Draw(0, "test", 3).of("fc.weight").normal(weight) for _ in range(2))
>>> torch.equal(one, again)
True
"""
