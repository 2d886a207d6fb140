"""The arrays of a network, and how to put other values into them for a while.

An *array* is a weight tensor that lives in hardware: the weight of a Linear or of a convolution.
Norms, biases and embeddings are computed digitally and are no arrays. `arrays` finds the arrays of
a model, `swap` replaces their values for the length of a `with` block and brings the clean weights
back bit for bit, and `batchnorm` takes care of the statistics that depend on the weights.

>>> import torch
>>> from torch import nn
>>> from incorruptible.weights.arrays import select
>>> from incorruptible.weights.swap import replaced
>>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
>>> arrays = select(model, protect=("2.*",))
>>> [array.name for array in arrays]
['0.weight']
>>> with replaced(arrays, lambda array: torch.zeros_like(array.value)):
...     bool(model[0].weight.any())
False
>>> bool(model[0].weight.any())
True
"""
