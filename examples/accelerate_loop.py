"""Hardens a training loop that is written with accelerate. Trains on digits without hardening, by
RWP and by SAM, and measures the three networks on noisy chips.

    python examples/accelerate_loop.py        # or: accelerate launch --cpu examples/accelerate_loop.py
"""

import math

import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import incorruptible as inc
from incorruptible.integrations.accelerate import AcceleratedHardener
from incorruptible.tasks.data import digits
from incorruptible.tasks.networks import mlp

NOISE = inc.Gaussian("filter-max")
EPOCHS = 20


def train(objective: inc.Objective, strength: inc.Schedule) -> torch.nn.Module:
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = DataLoader(TensorDataset(*digits()["train"]), batch_size=16, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    steps = EPOCHS * math.ceil(len(loader) / accelerator.gradient_accumulation_steps)
    robust = AcceleratedHardener(accelerator, model, objective, strength, steps=steps, seed=0)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    # save_state and load_state then keep the Hardener's state too, so training goes on bit for bit.
    accelerator.register_for_checkpointing(robust)
    for _ in range(EPOCHS):
        for x, y in loader:
            with accelerator.accumulate(model):
                # This line was: accelerator.backward(loss).
                robust.backward(lambda x=x, y=y: cross_entropy(model(x), y))
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                if accelerator.sync_gradients:
                    decay.step()
    return accelerator.unwrap_model(model)


ARMS = {"plain": (inc.Plain(), 0.0), "RWP": (inc.RWP(NOISE), 0.5), "SAM": (inc.SAM(), 0.5)}
for name, (objective, most) in ARMS.items():
    network = train(objective, inc.Quadratic(0.0, most))
    clean, noisy = inc.measure(
        network, inc.accuracy, digits()["test"], NOISE, [0.0, 0.3], chips=20, seed=0
    ).mean()
    print(f"{name}: accuracy {clean:.3f} without noise, {noisy:.3f} at 0.3 (mean of 20 chips)")
