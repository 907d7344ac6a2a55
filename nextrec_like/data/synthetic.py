"""An impression -> click -> conversion log drawn from known probabilities."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nextrec_like.errors import InputError, checked_seed, positive_int
from nextrec_like.memory import available_memory

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Objects = npt.NDArray[np.object_]

NUM_CATEGORIES = 24
NUM_FACTORS = 4
MAX_HISTORY = 10
ROW_BYTES = 1_000
"""About what an impression takes at the most while the log is drawn."""
FIRST_SECOND = 1_700_000_000
CITIES = np.array(["amsterdam", "berlin", "lisbon", "madrid", "oslo", "paris", "rome", "vienna"], dtype=object)
DEVICES = np.array(["desktop", "phone", "tablet"], dtype=object)


@dataclass(frozen=True)
class _Items:
    """One entry per item. Items are grouped by category, so that a category is a slice of ``popularity``."""

    ids: Ints  # (I,)
    category: Ints  # (I,), ascending, no category is empty
    brand: Ints  # (I,)
    price: Floats  # (I,), currency units
    popularity: Floats  # (I,), sums to 1
    factors: Floats  # (I, K)
    appeal: Floats  # (I,), draws clicks and conversions
    clickbait: Floats  # (I,), draws clicks only
    value: Floats  # (I,), draws conversions only


@dataclass(frozen=True)
class _Users:
    """One entry per user."""

    city: Ints  # (U,)
    age: Floats  # (U,), years
    age_is_known: npt.NDArray[np.bool_]  # (U,)
    activity: Floats  # (U,), sums to 1
    factors: Floats  # (U, K)
    mood: Floats  # (U,), draws clicks and conversions
    taste: Floats  # (U, C), cumulative probability of the categories


@dataclass(frozen=True)
class _Impressions:
    """One entry per row; a history of L items is L consecutive entries of ``past``."""

    user: Ints  # (N,)
    item: Ints  # (N,)
    device: Ints  # (N,)
    position: Ints  # (N,)
    time: Ints  # (N,), seconds
    length: Ints  # (N,), of the history
    past: Ints  # (sum of length,), items

    @property
    def hour(self) -> Ints:
        return self.time // 3600 % 24


def synthetic_funnel(num_rows: int = 100_000, seed: int = 0) -> pd.DataFrame:
    """Draws a log of impressions with clicks and conversions, and keeps the probabilities behind them.

    One latent *fit* of user and item drives both labels: the log odds of a click rise linearly with it, those of
    a conversion are flat where the fit is good and fall steeply where it is poor. Poor fits are hardly ever
    clicked, so clicked rows are a biased sample of the entire space, and the dense click label says much about
    conversion. The formulas are in ``datasets/synthetic_funnel/README.md``.

    Vocabularies grow with the log: ``num_rows / 50`` items (24 to 20,000), ``num_rows / 20`` users (20 to
    200,000), a tenth as many brands as items (2 to 500). Users and items have Zipf frequencies.

    Args:
        num_rows: Number of impressions, at least 1.
        seed: Equal ``(num_rows, seed)`` give equal logs. A longer log does not continue a shorter one.

    Returns:
        Impressions in order of time. Features: ``user_id``, ``city``, ``device``, ``category`` (strings),
        ``item_id``, ``brand`` (integers), ``price`` (currency units), ``user_age`` (years, NaN if undisclosed),
        ``hour`` (0 to 23), ``position`` on the page (1 to 10, 1 is the top), ``history`` (list of at most 10 item
        ids, newest last, possibly empty). ``time``: Unix seconds, strictly increasing. Labels: ``click`` and
        ``conversion``, 0 or 1, the latter 0 without a click. Truth, never features: ``true_click`` and
        ``true_conversion_given_click``, the probabilities that the labels were drawn from.

    Raises:
        InputError: If ``num_rows`` is not positive.
    """
    num_rows = positive_int("`num_rows`", num_rows)
    if num_rows > available_memory() // ROW_BYTES:
        raise InputError(f"There is no memory for `num_rows` {num_rows:,}, at about {ROW_BYTES} bytes each; lower it.")
    rng = np.random.Generator(np.random.PCG64(checked_seed(seed)))
    items = _draw_items(rng, num_items=int(np.clip(num_rows // 50, NUM_CATEGORIES, 20_000)))
    users = _draw_users(rng, num_users=int(np.clip(num_rows // 20, 20, 200_000)))
    log = _draw_impressions(rng, num_rows, users, items)
    fit = _fit(users, items, log)
    true_click = _sigmoid(_click_logit(fit, items, log))
    true_conversion = _sigmoid(_conversion_logit(fit, users, items, log))
    click = rng.random(num_rows) < true_click
    conversion = click & (rng.random(num_rows) < true_conversion)
    labels = {
        "click": click.astype(np.int8),
        "conversion": conversion.astype(np.int8),
        "true_click": true_click,
        "true_conversion_given_click": true_conversion,
    }
    return pd.DataFrame({**_visible(users, items, log), **labels})


def _draw_items(rng: np.random.Generator, num_items: int) -> _Items:
    category = np.arange(num_items) * NUM_CATEGORIES // num_items
    num_brands = int(np.clip(num_items // 10, 2, 500))
    brand = rng.integers(num_brands, size=num_items)
    popularity = _zipf(rng, num_items, exponent=0.8)
    category_factors = rng.normal(size=(NUM_CATEGORIES, NUM_FACTORS))
    factors = 0.6 * category_factors[category] + 0.8 * rng.normal(size=(num_items, NUM_FACTORS))
    log_price = 3 + 0.6 * rng.normal(size=NUM_CATEGORIES)[category] + 0.5 * rng.normal(size=num_items)

    def effect() -> Floats:
        """A standard normal effect, in part of the category, of the brand and of the item itself."""
        by_category = rng.normal(size=NUM_CATEGORIES)[category]
        by_brand = rng.normal(size=num_brands)[brand]
        return _centred(0.5 * by_category + 0.4 * by_brand + 0.77 * rng.normal(size=num_items), popularity)

    return _Items(
        ids=1 + rng.permutation(num_items),
        category=category,
        brand=brand,
        price=np.maximum(np.exp(log_price).round(2), 0.01),
        popularity=popularity,
        factors=_centred(factors, popularity),
        appeal=effect(),
        clickbait=effect(),
        value=effect(),
    )


def _draw_users(rng: np.random.Generator, num_users: int) -> _Users:
    city = rng.integers(len(CITIES), size=num_users)
    age = rng.integers(18, 75, size=num_users).astype(np.float64)
    activity = _zipf(rng, num_users, exponent=0.6)
    city_factors = rng.normal(size=(len(CITIES), NUM_FACTORS))
    factors = 0.5 * city_factors[city] + 0.87 * rng.normal(size=(num_users, NUM_FACTORS))
    taste = np.exp(rng.normal(size=(num_users, NUM_CATEGORIES)))
    return _Users(
        city=city,
        age=age,
        age_is_known=rng.random(num_users) < 0.85,
        activity=activity,
        factors=_centred(factors, activity),
        mood=_centred(0.4 * _standard_age(age) + 0.9 * rng.normal(size=num_users), activity),
        taste=np.cumsum(taste / taste.sum(axis=1, keepdims=True), axis=1),
    )


def _draw_impressions(rng: np.random.Generator, num_rows: int, users: _Users, items: _Items) -> _Impressions:
    user = rng.choice(len(users.activity), size=num_rows, p=users.activity)
    interest = _choose_categories(rng, users, user)
    length = rng.binomial(MAX_HISTORY, rng.beta(0.6, 0.9, size=num_rows))
    return _Impressions(
        user=user,
        item=_choose_items(rng, items, interest, share=0.3),
        device=rng.choice(len(DEVICES), size=num_rows, p=[0.3, 0.6, 0.1]),
        position=np.minimum(rng.geometric(0.25, size=num_rows), 10),
        time=FIRST_SECOND + np.cumsum(rng.integers(1, 8, size=num_rows)),
        length=length,
        past=_choose_items(rng, items, np.repeat(interest, length), share=0.7),
    )


def _choose_categories(rng: np.random.Generator, users: _Users, user: Ints) -> Ints:
    """A category of interest for every impression, by the taste of its user, shape ``(N,)``."""
    # Row u of `taste`, shifted by u, makes one ascending array: a single search serves all users, without (N, C).
    ladder = (users.taste + np.arange(len(users.taste))[:, None]).ravel()
    found = np.searchsorted(ladder, user + rng.random(len(user)))
    return np.clip(found - user * NUM_CATEGORIES, 0, NUM_CATEGORIES - 1)


def _choose_items(rng: np.random.Generator, items: _Items, interest: Ints, share: float) -> Ints:
    """Items by popularity: a share of them within the category of interest, the others among all."""
    cumulative = np.concatenate([[0.0], np.cumsum(items.popularity)])
    edges = cumulative[np.searchsorted(items.category, np.arange(NUM_CATEGORIES + 1))]
    targeted = rng.random(len(interest)) < share
    low = np.where(targeted, edges[interest], 0.0)
    high = np.where(targeted, edges[interest + 1], cumulative[-1])
    found = np.searchsorted(cumulative, low + (high - low) * rng.random(len(interest)), side="right") - 1
    return np.minimum(found, len(items.ids) - 1)


def _fit(users: _Users, items: _Items, log: _Impressions) -> Floats:
    """How well the item suits the user now: what clicks and conversions have in common, shape ``(N,)``."""
    user, item = log.user, log.item
    match = np.einsum("nk,nk->n", users.factors[user], items.factors[item]) / np.sqrt(NUM_FACTORS)
    return 0.6 * match + 0.9 * items.appeal[item] + 0.9 * users.mood[user] + 3.0 * (_affinity(items, log) - 0.2)


def _affinity(items: _Items, log: _Impressions) -> Floats:
    """Share of the history that is of the item's category, 0 for an empty history, shape ``(N,)``."""
    row = np.repeat(np.arange(len(log.item)), log.length)
    same = items.category[log.past] == items.category[log.item][row]
    return np.bincount(row, weights=same, minlength=len(log.item)) / np.maximum(log.length, 1)


def _click_logit(fit: Floats, items: _Items, log: _Impressions) -> Floats:
    daily = 0.2 * np.sin(2 * np.pi * log.hour / 24)
    return -4.0 + 1.6 * fit + 0.6 * items.clickbait[log.item] - 0.25 * (log.position - 1) + daily


def _conversion_logit(fit: Floats, users: _Users, items: _Items, log: _Impressions) -> Floats:
    poor_fit = 0.5 * np.logaddexp(0.0, 2 * (1.0 - fit))
    expensive = (np.log(items.price[log.item]) - 3) / 0.78
    strain = expensive * (1 - 0.5 * _standard_age(users.age[log.user]))
    on_phone = log.device == 1
    return -2.4 - 4.0 * poor_fit + 0.8 * items.value[log.item] - 0.5 * strain - 0.3 * on_phone


def _visible(users: _Users, items: _Items, log: _Impressions) -> dict[str, Any]:
    user, item = log.user, log.item
    return {
        "user_id": _names("u", len(users.age))[user],
        "city": CITIES[users.city[user]],
        "user_age": np.where(users.age_is_known, users.age, np.nan)[user],
        "device": DEVICES[log.device],
        "item_id": items.ids[item],
        "category": _names("c", NUM_CATEGORIES)[items.category[item]],
        "brand": items.brand[item],
        "price": items.price[item],
        "hour": log.hour,
        "position": log.position,
        "history": _as_lists(items.ids[log.past], log.length),
        "time": log.time,
    }


def _as_lists(flat: Ints, length: Ints) -> list[list[int]]:
    values = flat.tolist()
    end = np.cumsum(length)
    return [values[a:b] for a, b in zip((end - length).tolist(), end.tolist())]


def _names(prefix: str, count: int) -> Objects:
    return np.array([f"{prefix}{index}" for index in range(count)], dtype=object)


def _zipf(rng: np.random.Generator, count: int, exponent: float) -> Floats:
    """Frequencies that fall as a power of the rank, in random order, shape ``(count,)``."""
    weights = np.arange(1, count + 1) ** -exponent
    return rng.permutation(weights / weights.sum())


def _centred(effect: Floats, weights: Floats) -> Floats:
    """Mean 0 over impressions, not over the vocabulary: keeps the rates alike for every seed and size."""
    return np.asarray(effect - np.average(effect, axis=0, weights=weights))


def _standard_age(age: Floats) -> Floats:
    return (age - 46) / 16.5


def _sigmoid(logit: Floats) -> Floats:
    return 1 / (1 + np.exp(-logit))
