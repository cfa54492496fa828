"""The learning rate on plateaus."""

from timbre_jax.training.plateau import PlateauSchedule


def test_rate_drops_after_five_evaluations_without_improvement_until_minimum():
    """The thesis': 1e-3, 2e-4, 4e-5, and the end, as 8e-6 would be below 1e-5."""
    plateau = PlateauSchedule(1e-3)
    drops = idle = 0
    over, rates = False, []
    for better in [True, False, False, True] + [False] * 15:
        assert not over
        drops, idle, over = plateau.update(drops, idle, better)
        rates.append(round(plateau.rate(drops), 9))
    assert rates == [1e-3] * 8 + [2e-4] * 5 + [4e-5] * 6
    assert over
