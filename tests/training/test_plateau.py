"""Learning-rate schedule on plateaus."""

from timbre_jax.training.plateau import PlateauSchedule


def test_rate_drops_after_five_evaluations_without_improvement_until_minimum():
    # Rates of the thesis: 1e-3, 2e-4 and 4e-5; then training ends, since 8e-6 is below the minimum 1e-5.
    plateau = PlateauSchedule(1e-3)
    drops = waited = 0
    ended, rates = False, []
    for improved in [True, False, False, True] + [False] * 15:
        assert not ended
        drops, waited, ended = plateau.update(drops, waited, improved)
        rates.append(round(plateau.rate(drops), 9))
    assert rates == [1e-3] * 8 + [2e-4] * 5 + [4e-5] * 6
    assert ended
