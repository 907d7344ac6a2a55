import pytest

from nextrec_like.comparison.analysis.evidence import Evidence
from nextrec_like.comparison.analysis.verdict import judge
from nextrec_like.metrics import Interval

SURE = Interval(0.0021, 0.0015, 0.0027, 1e-9)


def seen(differences, *, rows=SURE, higher=True, num_seeds=5, beside=(), reason=None, metric="auc"):
    """The verdict on differences, and its sentence, beside others to the same reference."""
    first = Evidence("a", "equal", "click", metric, higher, list(differences), num_seeds, rows, "DeLong", reason)
    others = [Evidence("b", "equal", "click", "auc", higher, list(each), num_seeds, rows) for each in beside]
    found = judge([first, *others])[0]
    return found.verdict, found.sentence


FIVE = [0.0020, 0.0030, 0.0010, 0.0025, 0.0020]  # mean 0.0021, t interval [0.0012, 0.0030], p 0.003
SPREAD = [0.0020, -0.0010, 0.0005, -0.0020, 0.0015]  # mean 0.0002


def test_better_and_worse_follow_the_direction():
    figures = "+0.00210 [+0.00118, +0.00302] over 5 seeds"
    assert seen(FIVE) == ("better", f"better: {figures}")
    assert seen(FIVE, higher=False) == ("worse", f"worse: {figures}")
    assert seen([-each for each in FIVE]) == (
        "worse",
        "worse: \N{MINUS SIGN}0.00210 [\N{MINUS SIGN}0.00302, \N{MINUS SIGN}0.00118] over 5 seeds",
    )
    assert seen([-each for each in FIVE], higher=False)[0] == "better"


def test_a_metric_without_row_interval_says_so():
    verdict, sentence = seen(FIVE, rows=None)
    assert verdict == "better"
    assert sentence.endswith("over 5 seeds; how far the test rows bear it is not known")


def test_seeds_agree_but_the_rows_are_too_few():
    verdict, sentence = seen(FIVE, rows=Interval(0.0021, -0.0011, 0.0053, 0.2))
    assert verdict == "uncertain"
    assert sentence == (
        "better on these test rows (+0.00210 [+0.00118, +0.00302] over 5 seeds), but they are too few to say so of new "
        "rows (interval of the rows [\N{MINUS SIGN}0.00110, +0.00530])"
    )
    assert seen(FIVE, rows=Interval(0.0021, -0.0011, 0.0053, 0.2), higher=False)[1].startswith("worse on these")


def test_no_difference_says_how_many_seeds_would_be_needed():
    # Deviation of SPREAD 0.00168: 25 seeds by the noncentral t, 0.001 at a power of 80 %.
    assert seen(SPREAD, rows=Interval(0.0002, -0.0004, 0.0008, 0.5)) == (
        "none",
        "no difference seen with 5 seeds; about 25 would be needed to see 0.001",
    )
    assert seen(SPREAD, rows=Interval(0.0002, -0.004, 0.0044, 0.9))[1] == (
        "no difference seen with 5 seeds; about 25 and more test rows would be needed to see 0.001"
    )


def test_no_difference_says_if_one_is_unlikely():
    close = [0.0001, -0.0002, 0.0003, -0.0001, 0.0]
    assert seen(close, rows=Interval(0.0, -0.0004, 0.0004, 0.9)) == (
        "none",
        "no difference seen with 5 seeds; one of 0.001 or more is unlikely",
    )
    assert seen(close, rows=Interval(0.0, -0.004, 0.004, 0.9))[1].endswith("is unlikely on these test rows")
    assert seen(close, rows=None)[1].endswith("is unlikely on these test rows")


def test_no_difference_where_the_seeds_are_enough():
    # Deviation 0.0006: 6 seeds are needed, and 6 were used; the interval reaches above 0.001.
    six = [0.0014, -0.0002, 0.0005, 0.0004, 0.0009, -0.0001]
    assert seen(six, num_seeds=6) == (
        "none",
        "no difference seen: +0.00048 [\N{MINUS SIGN}0.00015, +0.00112] over 6 seeds",
    )


def test_an_effect_of_a_thousandth_is_only_for_metrics_on_its_scale():
    figures = "+0.00020 [\N{MINUS SIGN}0.00189, +0.00229] over 5 seeds"  # deviation 0.00168, t 2.776
    assert seen(SPREAD, rows=None, metric="rmse", higher=False) == ("none", f"no difference seen: {figures}")
    rmse, auc = (
        judge([Evidence("a", "equal", "price", metric, True, SPREAD, 5)])[0].seeds_needed for metric in ("rmse", "auc")
    )
    assert (rmse, auc) == (None, 25)


def test_rows_and_seeds_that_each_pass_do_not_pass_together():
    # Seeds alone t 6.3, p 0.003; rows alone z 2.02, p 0.043; 0.0021 / sqrt(0.00033^2 + 0.00104^2) = 1.92, p 0.055.
    rows = Interval(0.0021, 0.0021 - 1.96 * 0.00104, 0.0021 + 1.96 * 0.00104, 0.043)
    verdict, sentence = seen(FIVE, rows=rows)
    assert verdict == "uncertain"
    assert sentence.endswith("new rows (interval of the rows [+0.00006, +0.00414])")


def test_a_difference_that_correction_removes():
    beside = [SPREAD] * 19
    verdict, sentence = seen(FIVE, beside=beside)
    assert verdict == "none"
    assert sentence == (
        "no difference left after correction for 20 comparisons: +0.00210 [+0.00118, +0.00302] over 5 seeds"
    )


def test_equal_values_are_said():
    assert seen([0.0] * 5) == ("none", "the same values with 5 seeds")


def test_one_seed_gives_no_interval():
    assert seen([0.0021], num_seeds=1) == (
        "undefined",
        "one seed gives no interval: +0.00210 with it; the test rows alone leave [+0.00150, +0.00270]",
    )
    assert seen([0.0021], rows=None)[1] == ("one seed with both values, of 5, gives no interval: +0.00210 with it")


def test_missing_seeds_are_counted():
    assert seen(FIVE[:4], num_seeds=5)[1].endswith("over 4 of 5 seeds")


def test_nothing_to_compare_says_why():
    assert seen([], rows=None, reason="`a`: it diverged") == ("undefined", "not defined: `a`: it diverged")


@pytest.mark.parametrize(
    ("differences", "shown"),
    [
        ([0.00002, 0.000021, 0.000022], "+0.0000210 [+0.0000185, +0.0000235]"),
        ([12.0, 12.5, 13.0], "+12.50000 [+11.25793, +13.74207]"),
        ([0.1, 0.1, 0.1], "the same difference with 3 of 5 seeds gives no interval: +0.10000 with it"),
    ],
)
def test_decimals_show_the_interval(differences, shown):
    assert shown in seen(differences)[1]
