"""Published reconstruction scores that tables quote, and why they are not comparable."""

from __future__ import annotations

NATSIOU_MSE, NATSIOU_SSIM = 0.039, 0.948
NATSIOU_2023 = (
    f"Natsiou et al. 2023 report MSE {NATSIOU_MSE:g} and SSIM {NATSIOU_SSIM:g} on NSynth's test notes. Not comparable: the "
    "paper scales its features by minimum and maximum without stating of which notes, and states neither window nor data "
    "range of SSIM; each of these changes both scores a lot on the same notes."
)
