"""Records of runs that never were, with what is to be found in them."""

from types import SimpleNamespace

from geosam.ablation.outcomes import Outcomes

WIGGLE = (0.0, 0.004, -0.003, 0.002, -0.001, 0.003, -0.002, 0.001)
"""Of a seed, which all methods share."""
OWN = (0.0001, -0.0002, 0.0002, 0.0, -0.0001, 0.0001, -0.0001, 0.0)
"""Of a run."""


def outcomes(methods, seeds=8, look=None, score=None):
    """methods: name ↦ (scores, looks an epoch), both by key. look, score: what the configuration says of either."""
    config = {"setting": {"look": look, "score": score}}
    records = []
    for place, (name, (scores, looks)) in enumerate(methods.items()):
        for seed in range(seeds):
            test = {key: value + WIGGLE[seed] + OWN[(seed + place) % 8] for key, value in scores.items()}
            epochs = [{"look": {k: v * (1 + WIGGLE[seed]) for k, v in row.items()}} for row in looks]
            result = {"method": name, "test": test, "epochs": epochs, "diverged": False}
            records.append(SimpleNamespace(seed=seed, result=result, config=config))
    return Outcomes(records, {}, len(records))
