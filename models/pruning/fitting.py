"""A deterministic training loop for image classifiers on one core: trains the digits zoo, fine-tunes after pruning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Fit", "fit"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How long and how a module is trained."""

    epochs: int
    rate: float
    """The highest learning rate of AdamW; it rises to it over *warm_up* and falls to zero as a half cosine."""
    warm_up: float = 0.1
    """Share of all steps."""
    batch: int = 64
    decay: float = 0.01
    smoothing: float = 0.0
    """Label smoothing."""
    degrees: float = 10.0
    """Pictures are turned by up to so much,"""
    shift: float = 0.06
    """moved by up to this share of their width and height,"""
    scale: float = 0.1
    """and enlarged or shrunk by up to this share."""
    teacher_share: float = 0.0
    """Weight of the teacher's answer against the labels (Hinton et al., 2015), at temperature 2."""

    def described(self) -> Mapping[str, str]:
        """The settings as a record tells them."""
        augmentation = f"turned by up to {self.degrees:g} degrees, moved {self.shift:.0%}, scaled {self.scale:.0%}"
        facts = {
            "epochs": str(self.epochs),
            "optimizer": f"AdamW, weight decay {self.decay:g}, batches of {self.batch}",
            "rate": f"{self.rate:g}, {self.warm_up:.0%} warm-up, half cosine to 0",
            "augmentation": augmentation,
        }
        if self.teacher_share:
            facts["distillation"] = f"{self.teacher_share:.0%} of the loss from the unpruned model, temperature 2"
        return facts


@dataclass(frozen=True, kw_only=True)
class _Batches:
    """Seeded order and augmentation."""

    images: Any
    labels: Any
    settings: Fit
    generator: Any
    count: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", max(1, math.ceil(len(self.images) / self.settings.batch)))

    def epoch(self) -> Any:
        """Pairs of images and labels, all of nearly one size: batch normalisation cannot take a batch of one."""
        import torch

        order = torch.randperm(len(self.images), generator=self.generator)
        for chosen in torch.tensor_split(order, self.count):
            yield self._augmented(self.images[chosen]), self.labels[chosen]

    def _augmented(self, images: Any) -> Any:
        import torch
        from torch.nn import functional

        count = len(images)
        draws = torch.rand((4, count), generator=self.generator) * 2 - 1
        angle = draws[0] * math.radians(self.settings.degrees)
        zoom = 1 + draws[1] * self.settings.scale
        # In units of half the picture, as affine_grid counts.
        moves = draws[2:] * 2 * self.settings.shift
        cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        theta = torch.stack([torch.stack([cos, -sin, moves[0]], 1), torch.stack([sin, cos, moves[1]], 1)], 1)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def fit(
    module: Any,
    images: Any,
    labels: Any,
    settings: Fit,
    *,
    seed: int,
    masks: Mapping[str, Any] | None = None,
    teacher: Any = None,
) -> float:
    """Train *module* in place and leave it in evaluation mode; return the mean loss of the last epoch (NaN for none).

    *images* is (N, C, H, W) float32, *labels* (N,) int64, both torch tensors. *masks* names weights (as
    `named_parameters` does) that stay zero where the mask is False. Deterministic on one machine with one thread;
    the global random state is seeded for dropout.
    """
    import torch

    torch.manual_seed(seed)
    batches = _Batches(images=images, labels=labels, settings=settings, generator=torch.Generator().manual_seed(seed))
    named = dict(module.named_parameters(remove_duplicate=False))
    held = [(named[name], mask) for name, mask in (masks or {}).items()]
    module.requires_grad_(True)
    optimizer = torch.optim.AdamW(module.parameters(), lr=settings.rate, weight_decay=settings.decay)
    total = settings.epochs * batches.count
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / total, settings.warm_up))
    mean_loss = math.nan
    module.train()
    for _ in range(settings.epochs):
        summed = 0.0
        for inputs, targets in batches.epoch():
            optimizer.zero_grad(set_to_none=True)
            loss = _loss(module(inputs), targets, inputs, settings, teacher)
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                for weight, mask in held:
                    weight.mul_(mask)
            summed += float(loss.detach()) * len(targets)
        mean_loss = summed / len(images)
    module.eval()
    module.requires_grad_(False)
    return mean_loss


def _rate(done: float, warm_up: float) -> float:
    if done < warm_up:
        return 0.1 + 0.9 * done / warm_up
    return 0.5 * (1 + math.cos(math.pi * min((done - warm_up) / (1 - warm_up), 1.0)))


def _loss(outputs: Any, targets: Any, inputs: Any, settings: Fit, teacher: Any) -> Any:
    import torch
    from torch.nn import functional

    loss = functional.cross_entropy(outputs, targets, label_smoothing=settings.smoothing)
    if teacher is None or not settings.teacher_share:
        return loss
    with torch.no_grad():
        wanted = teacher(inputs)
    distance = 4 * functional.kl_div(
        functional.log_softmax(outputs / 2, 1),
        functional.log_softmax(wanted / 2, 1),
        log_target=True,
        reduction="batchmean",
    )
    return (1 - settings.teacher_share) * loss + settings.teacher_share * distance
