"""Any model, any objective and any weighting compose; a new entry of a registry is tested here by itself."""

import pytest

from nextrec_like.errors import InputError
from nextrec_like.models import MODELS
from nextrec_like.objectives import OBJECTIVES
from nextrec_like.weighting import WEIGHTINGS

REQUIRED_OPTIONS = {"fixed": {"weights": {"click": 0.4, "conversion": 1.3}}}
SHARING_NOTHING = {("single_task", "marginal"), ("single_task", "click_space")}


def total_loss(record):
    return sum(record.weights[task] * loss for task, loss in record.loss.items())


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("model", MODELS)
def test_product_trains_and_lowers_its_loss(model, objective, weighting, train):
    spec = {"method": weighting, **REQUIRED_OPTIONS.get(weighting, {})}
    compiled = {"objective": objective, "loss_weights": spec}
    if WEIGHTINGS[weighting].needs != "losses" and (model, objective) in SHARING_NOTHING:
        with pytest.raises(InputError, match="click, conversion"):
            train(model, compiled=compiled)
        return
    _, history = train(model, compiled=compiled, epochs=8)
    assert total_loss(history.epochs[-1]) < 0.85 * total_loss(history.epochs[0])
