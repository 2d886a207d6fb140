"""Hardens a network in a Trainer of transformers by a callback. Trains on digits without hardening,
by RWP and by SAM, and measures the three networks on noisy chips.

    python examples/transformers_trainer.py
"""

import tempfile

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments, set_seed

import incorruptible as inc
from incorruptible.integrations.transformers import TrainerHardening
from incorruptible.tasks.data import digits
from incorruptible.tasks.networks import mlp

NOISE = inc.Gaussian("filter-max")


class Classifier(torch.nn.Module):
    """A model as the Trainer needs it: it takes labels and returns a loss. Any `AutoModelFor...`
    would do too.
    """

    def __init__(self):
        super().__init__()
        self.model = mlp()

    def forward(self, pixels, labels):
        return {"loss": cross_entropy(self.model(pixels), labels)}


def train(objective: inc.Objective, strength: inc.Schedule) -> torch.nn.Module:
    set_seed(0)
    classifier = Classifier()
    data = [{"pixels": x, "labels": y} for x, y in zip(*digits()["train"], strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=20,
            per_device_train_batch_size=32,
            learning_rate=3e-3,
            use_cpu=True,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        callback = TrainerHardening(objective, strength, seed=0)  # the line that hardens
        Trainer(classifier, arguments, train_dataset=data, callbacks=[callback]).train()
    return classifier.model


ARMS = {"plain": (inc.Plain(), 0.0), "RWP": (inc.RWP(NOISE), 0.5), "SAM": (inc.SAM(), 0.5)}
for name, (objective, most) in ARMS.items():
    network = train(objective, inc.Quadratic(0.0, most))
    clean, noisy = inc.measure(
        network, inc.accuracy, digits()["test"], NOISE, [0.0, 0.3], chips=20, seed=0
    ).mean()
    print(f"{name}: accuracy {clean:.3f} without noise, {noisy:.3f} at 0.3 (mean of 20 chips)")
