"""A training loop that is written with accelerate, hardened: plain and RWP on digits, then both on noisy chips.

python examples/accelerate_loop.py        # or: accelerate launch --cpu examples/accelerate_loop.py
"""

import math

import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import incorruptible as inc
from incorruptible.data import digits
from incorruptible.integrations.accelerate import AcceleratedHardener
from incorruptible.networks import mlp

NOISE = inc.Gaussian("filter-max")
EPOCHS = 30


def train(objective: inc.Objective) -> torch.nn.Module:
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = mlp(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(TensorDataset(*digits()["train"]), batch_size=32, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    steps = EPOCHS * math.ceil(len(loader) / accelerator.gradient_accumulation_steps)
    robust = AcceleratedHardener(accelerator, model, objective, inc.Quadratic(0.0, 0.3), steps=steps, seed=0)
    accelerator.register_for_checkpointing(robust)  # so that save_state and load_state go on with the same bits
    for _ in range(EPOCHS):
        for x, y in loader:
            with accelerator.accumulate(model):
                robust.backward(lambda x=x, y=y: cross_entropy(model(x), y))  # was: accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
    return accelerator.unwrap_model(model)


for name, objective in (("plain", inc.Plain()), ("RWP", inc.RWP(NOISE))):
    scores = inc.measure(train(objective), inc.accuracy, digits()["test"], NOISE, [0.0, 0.3], draws=20, seed=0)
    clean, noisy = scores.mean()
    print(f"{name}: accuracy {clean:.3f} without noise, {noisy:.3f} at 0.3 (mean of 20 chips)")
