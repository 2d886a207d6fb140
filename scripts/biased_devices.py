"""Which training helps where most of a device's error is bias: Gaussian noise of the same size, or
the device's own model?

    python scripts/biased_devices.py                 # two networks, five devices, two seeds
    python scripts/biased_devices.py --seeds 1       # one seed only

Each network is trained plainly, and then for 15 more epochs in the two ways that `incorruptible
device` proposes. All three are measured on 25 chips of the device, with BatchNorm as it is. The
strengths are those that `device` names; nothing is tuned. Takes about ten minutes on one core. The table is
in docs/results/hardware-study.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import incorruptible as inc

DEVICES = (
    "pcm-joshi:time=20s",
    "pcm-joshi:time=1d:compensation=global",
    "pcm-joshi:time=1h",
    "pcm-joshi:time=1d",
    "pcm-hermes:time=1d",
)


def trained(
    task: str, seed: int, home: Path, start: Path | None = None, **entries: object
) -> inc.Run:
    more = {} if start is None else {"start": str(start / "weights.safetensors"), "epochs": 15}
    return inc.train(inc.Recipe(task, seed=seed, **more, **entries), home)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description="Gaussian noise or the device's own model?")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--home", type=Path, default=Path("runs"))
    given = parser.parse_args()
    print(
        "| network, seed | device | bias | plain | Gaussian | the device's own |\n|---|---|---|---|---|---|"
    )
    for task in ("digits", "digits:network=conv"):
        for seed in range(given.seeds):
            plain = trained(task, seed, given.home)
            for device in DEVICES:
                corruption = inc.parse(device)
                whole = inc.translate(corruption, 1.0, inc.select(plain.model())).whole
                ways = (("gaussian-filter-max", f"{whole.strength:.3g}"), (device, "1"))
                each = [
                    plain,
                    *(
                        trained(
                            task,
                            seed,
                            given.home,
                            plain.folder,
                            objective=f"rwp({name})",
                            strength=s,
                            clip=1.0,
                        )
                        for name, s in ways
                    ),
                ]
                scores = [
                    inc.measure(
                        run.model(),
                        inc.accuracy,
                        run.task().test,
                        corruption,
                        [1.0],
                        chips=25,
                        seed=0,
                    )
                    for run in each
                ]
                cells = " | ".join(f"{score.mean()[0]:.3f}" for score in scores)
                print(f"| `{task}`, {seed} | `{device}` | {whole.bias:.0%} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
