"""Published reconstruction scores that tables of our own quote, with the reason why they are not comparable."""

from __future__ import annotations

NATSIOU_MSE, NATSIOU_SSIM = 0.039, 0.948
NATSIOU_2023 = (
    f"Natsiou et al. 2023 report MSE {NATSIOU_MSE:g} and SSIM {NATSIOU_SSIM:g} on NSynth's test notes. Not comparable: The "
    "paper's features are min-max scaled on its own data, and it states neither SSIM's window nor its data range; on the same "
    "notes, each of these changes both scores a lot."
)
