"""Rules for the training: flips, augmentation, length and schedule. Each is a pure function of facts and wishes."""

from __future__ import annotations

import math

from keras_retina.plan.budget import Timing
from keras_retina.plan.data.facts import DataFacts
from keras_retina.plan.data.names import why_no_flip
from keras_retina.plan.network import FEW_IMAGES, MANY_IMAGES
from keras_retina.plan.wishes import Choice, Wishes

# Augmentation. raccoon.yaml (160 photographs) zooms by 0.6 to 1.5, bccd.yaml (205 of one microscope) by 0.8 to 1.4.
SCALE_FEW, SCALE_SOME, SCALE_MANY = (0.6, 1.5), (0.7, 1.4), (0.8, 1.25)
ASPECT_FEW, ASPECT_SOME = 1.2, 1.1
ONE_DISTANCE = 1.6  # spread of sides inside a class: under it everything is seen from one distance. Not measured.
SCALE_ONE_DISTANCE = (0.8, 1.25)
TINY_SIDE, LEAST_SCALE_TINY = 16.0, 0.8  # input pixels of the smallest tenth: smaller they would be lost

# Length. 60 epochs of about 200 images are 1500 updates of 8: bccd.yaml, raccoon.yaml.
BATCH = 8
REFERENCE_EPOCHS, REFERENCE_IMAGES = 60, 200
LEAST_EPOCHS, MOST_EPOCHS = 12, 150
LONGER_FOR_BEST = 1.5  # 93 epochs of bccd.yaml were better than 60 at that time
EVALUATIONS = 6  # of a training: each costs as much as some steps
EVALUATION_SHARE = 0.08  # of the minutes: over a tenth, the training warns
LIMITLESS_EPOCHS = 1000  # more than any number of minutes makes: the time is the limit
WARMUP_SHARE, MOST_WARMUP = 0.05, 100


def flip_choice(facts: DataFacts) -> Choice:
    """Says whether images are mirrored."""
    reason = why_no_flip(tuple(facts.class_counts))
    if reason:
        return Choice(
            "augmentation.horizontal_flip", False, f"{reason}. Set true if that is wrong.", "none", "mirrored images"
        )
    why = "no class name speaks of left, right or writing. Set false if a mirrored object is another one."
    return Choice("augmentation.horizontal_flip", True, why, "left to right", "mirrored images")


def vertical_flip_choice() -> Choice:
    """Says that images are not turned upside down."""
    why = "Names cannot tell whether your images have an up. Set true if they have none (from above, a microscope)."
    return Choice("augmentation.vertical_flip", False, why)


def augmentation_choices(facts: DataFacts, small_side: float) -> list[Choice]:
    """Says how strongly images are changed; `small_side` is the 10 % quantile of the objects at the input, pixels."""
    if facts.images < FEW_IMAGES:
        scale, aspect, why = SCALE_FEW, ASPECT_FEW, f"{facts.images} images are few, so each is changed much"
    elif facts.images < MANY_IMAGES:
        scale, aspect, why = SCALE_SOME, ASPECT_SOME, f"{facts.images} images: the usual strength"
    else:
        scale, aspect, why = SCALE_MANY, ASPECT_SOME, f"{facts.images} images show many views of their own"
    if facts.class_spread <= ONE_DISTANCE:
        scale = (max(scale[0], SCALE_ONE_DISTANCE[0]), min(scale[1], SCALE_ONE_DISTANCE[1]))
        why = f"objects of a class are nearly of one size ({facts.class_spread:.1f} x), so zoom would invent others"
    elif small_side < TINY_SIDE and scale[0] < LEAST_SCALE_TINY:
        scale = (LEAST_SCALE_TINY, scale[1])
        why = f"{why}, but not shrunk much: the smallest tenth of the objects has {small_side:.0f} px"
    mosaic = "Joining four images did not help where it was measured."
    return [
        Choice("augmentation.scale", list(scale), f"{why}.", f"zoom {scale[0]:g} to {scale[1]:g}", "augmentation"),
        Choice("augmentation.aspect", aspect, ""),
        Choice("augmentation.mosaic", 0.0, mosaic),
    ]


def epochs_for(images: int, *, objective: str | None) -> int:
    """Returns the epochs of a training: 60 for 200 images, and with four times the images half as many."""
    epochs = REFERENCE_EPOCHS * math.sqrt(REFERENCE_IMAGES / images) * (LONGER_FOR_BEST if objective == "best" else 1)
    return round(min(max(epochs, LEAST_EPOCHS), MOST_EPOCHS))


def steps_per_epoch(images: int) -> int:
    """Returns the batches of an epoch, as training counts them."""
    return max(1, images // BATCH)


def evaluate_every(epochs: int, timing: Timing | None = None) -> int:
    """Returns after how many epochs the AP is measured: less often where it would take over a tenth of the time."""
    evaluations = EVALUATIONS
    if timing is not None and timing.evaluation:
        affordable = EVALUATION_SHARE * 60 * timing.budget.of_float / timing.evaluation
        evaluations = max(1, min(EVALUATIONS, int(affordable)))
    return max(1, round(epochs / evaluations))


def training_choices(facts: DataFacts, wishes: Wishes, timing: Timing | None = None) -> list[Choice]:
    """Says length, schedule and loss; `timing` is what was measured where a time was wished."""
    steps = steps_per_epoch(facts.images)
    if timing is None:
        epochs = epochs_for(facts.images, objective=wishes.objective)
        length = _epochs_choices(epochs, steps=steps)
    else:
        steps = timing.steps or steps
        epochs = max(1, timing.updates // steps)
        length = _minutes_choices(timing, epochs=epochs)
    warmup = max(1, min(MOST_WARMUP, round(WARMUP_SHARE * epochs * steps)))
    rate = "AdamW with a cosine schedule; half and twice of it were worse on few photographs."
    return [
        *length,
        Choice("training.evaluate_every", evaluate_every(epochs, timing), "The best epoch on validation is kept."),
        Choice("training.batch_size", BATCH, ""),
        Choice("training.learning_rate", 1e-3, rate),
        Choice("training.warmup_steps", warmup, ""),
        Choice("training.loss", {"box": "giou", "box_weight": 1.0}, "Trains the overlap of boxes, which AP counts."),
    ]


def _epochs_choices(epochs: int, *, steps: int) -> list[Choice]:
    why = f"{epochs * steps} updates of {BATCH} images; small sets get more epochs, large ones more updates."
    return [Choice("training.epochs", epochs, why, f"{epochs} epochs", "training")]


def _minutes_choices(timing: Timing, *, epochs: int) -> list[Choice]:
    budget = timing.budget
    parts = f"{budget.of_float:g} float" if budget.of_small else "all float"
    parts += f", {budget.of_small:g} smaller" if budget.of_small else ""
    parts += f", {budget.of_quantized:g} int8" if budget.of_quantized else ""
    why = (
        f"of {budget.minutes:g} for training with evaluations ({parts}), export and verify come on top; "
        f"about {timing.updates} updates. The plan is made before them, too. A step takes {timing.step:.2f} s on this "
        "machine; it is measured again when the training begins."
    )
    shown = f"{budget.of_float:g} min"
    choices = [
        Choice("training.minutes", budget.of_float, why, shown, "training"),
        Choice("training.epochs", LIMITLESS_EPOCHS, "At most: the minutes are the limit, and the schedule fits them."),
    ]
    if timing.steps:
        choices.append(
            Choice("training.steps_per_epoch", timing.steps, "Short epochs, so that whole ones fill the time.")
        )
    return choices
