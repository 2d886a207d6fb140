"""Hardens a LightningModule by a callback. Trains on digits without hardening, by RWP and by SAM,
and measures the three networks on noisy chips.

python examples/lightning_module.py
"""

import logging
import warnings

import lightning.pytorch as lightning
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import incorruptible as inc
from incorruptible.integrations.lightning import LightningHardening
from incorruptible.tasks.data import digits
from incorruptible.tasks.networks import mlp

NOISE = inc.Gaussian("filter-max")


class Classifier(lightning.LightningModule):
    """An ordinary LightningModule, without any code for noise."""

    def __init__(self):
        super().__init__()
        self.model = mlp()

    def training_step(self, batch, index):
        x, y = batch
        return cross_entropy(self.model(x), y)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        decay = torch.optim.lr_scheduler.LinearLR(
            optimizer, 1.0, 0.0, int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}


def train(objective: inc.Objective, strength: inc.Schedule) -> torch.nn.Module:
    lightning.seed_everything(0, verbose=False)
    module = Classifier()
    trainer = lightning.Trainer(
        max_epochs=20,
        gradient_clip_val=1.0,
        callbacks=[LightningHardening(objective, strength, seed=0)],  # the one line that hardens
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(*digits()["train"]), batch_size=32, shuffle=True))
    return module.model


logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings(
    "ignore", "The 'train_dataloader' does not have many workers|The number of training batches"
)
ARMS = {"plain": (inc.Plain(), 0.0), "RWP": (inc.RWP(NOISE), 0.5), "SAM": (inc.SAM(), 0.5)}
for name, (objective, most) in ARMS.items():
    network = train(objective, inc.Quadratic(0.0, most))
    clean, noisy = inc.measure(
        network, inc.accuracy, digits()["test"], NOISE, [0.0, 0.3], chips=20, seed=0
    ).mean()
    print(f"{name}: accuracy {clean:.3f} without noise, {noisy:.3f} at 0.3 (mean of 20 chips)")
