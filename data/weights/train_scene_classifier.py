"""Train `models.CropClassifier` on crops of generated scenes; its weights land beside this file.

    python data/weights/train_scene_classifier.py

Two to three minutes on two CPU cores. A crop's label is the class of its centre pixel; each batch
draws the classes equally often, so that thin and rare ones are learned as well.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm, trange

from fcn_tutorial.datasets import Scenes
from fcn_tutorial.models.classifier import CROP, CropClassifier
from fcn_tutorial.transforms import Preprocess

SIZE = (128, 192)
SCENES, HELD_OUT = 800, 150
STEPS, BATCH, LR = 1600, 96, 2e-3
OUT = Path(__file__).with_name("scene-classifier.safetensors")


class CentreCrops:
    """Crops whose whole window lies in the scene, drawn class by class."""

    def __init__(self, split: str, count: int, seed: int) -> None:
        scenes = Scenes(n=count, split=split, size=SIZE)
        items = [scenes[i] for i in tqdm(range(count), f"rendering {split}", unit="img")]
        self.images = torch.stack([image for image, _ in items]).as_subclass(Tensor)
        before, after = CROP // 2, CROP - CROP // 2
        masks = torch.stack([mask for _, mask in items]).as_subclass(Tensor)
        inner = masks[:, before : SIZE[0] - after + 1, before : SIZE[1] - after + 1]
        self.places = [(inner == c).nonzero() for c in range(len(Scenes.classes))]
        self.generator = torch.Generator().manual_seed(seed)

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Crops (size, 3, 46, 46) uint8 and their labels (size,), every class as likely."""
        labels = torch.randint(len(self.places), (size,), generator=self.generator)
        crops = []
        for label in labels.tolist():
            places = self.places[label]
            i, y, x = places[int(torch.randint(len(places), (), generator=self.generator))]
            crop = self.images[i, :, y : y + CROP, x : x + CROP]
            mirrored = torch.rand((), generator=self.generator) < 0.5
            crops.append(crop.flip(-1) if mirrored else crop)
        return torch.stack(crops), labels


def main() -> None:
    """Train, measure on held-out scenes, write."""
    torch.manual_seed(0)
    train, test = CentreCrops("train", SCENES, seed=1), CentreCrops("test", HELD_OUT, seed=2)
    model = CropClassifier(len(Scenes.classes))
    preprocess = Preprocess(model.preprocessing)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=STEPS)
    bar = trange(STEPS, unit="step")
    for _ in bar:
        crops, labels = train.batch(BATCH)
        loss = nn.functional.cross_entropy(model(preprocess(crops)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
    model.eval()
    with torch.no_grad():
        crops, labels = test.batch(4096)
        right = model(preprocess(crops)).argmax(1) == labels
    per_class = {
        name: round(float(right[labels == c].float().mean()), 4)
        for c, name in enumerate(Scenes.classes)
    }
    accuracy = round(float(right.float().mean()), 4)
    print(f"accuracy on held-out crops, classes equally often: {accuracy:.3f}", per_class)
    metadata = {
        "made by": "data/weights/train_scene_classifier.py",
        "classes": json.dumps(Scenes.classes),
        "preprocessing": model.preprocessing,
        "accuracy": json.dumps({"all": accuracy, **per_class}),
    }
    save_file(model.state_dict(), OUT, metadata)
    print(f"{OUT} ({OUT.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
