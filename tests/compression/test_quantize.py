import numpy as np
import pytest
import sklearn.cluster

from featherlight.compression.quantize import WIDTHS, half, kmeans, levels_of, product, scheme, uniform
from featherlight.errors import UserError
from featherlight.runtime.packed import decoded


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def error(weights, encoded):
    return float(((weights - decoded(encoded)) ** 2).mean())


@pytest.mark.parametrize(
    ("levels", "expected"), [(2, 0.3634), (4, 0.1188), (8, 0.03744), (16, 0.01154), (32, 0.003495)]
)
def test_uniform_codes_reach_the_least_error_known_for_normal_weights(levels, expected):
    """Max 1960 (doi:10.1109/TIT.1960.1057548), table II, for values that need not hold zero: ours do, so a bit more."""
    weights = normal(100_000)
    assert (
        error(weights, uniform(weights, levels=levels, per_row=False))
        < expected * {2: 1.9, 4: 1.9, 8: 1.3, 16: 1.12, 32: 1.06}[levels]
    )


@pytest.mark.parametrize(
    ("levels", "expected"), [(3, 0.1902), (4, 0.1175), (8, 0.03454), (16, 0.009497), (32, 0.002499)]
)
def test_codebooks_reach_the_least_error_that_there_is_for_normal_weights(levels, expected):
    """Max 1960, table I."""
    weights = normal(100_000)
    assert error(weights, kmeans(weights, levels=levels)) == pytest.approx(expected, rel=0.05)


def test_a_codebook_is_as_good_as_scikit_learns():
    weights = np.concatenate([normal(3000), 8 + normal(500, seed=1)])
    found = error(weights, kmeans(weights, levels=8))
    peer = sklearn.cluster.KMeans(8, n_init=5, random_state=0).fit(weights[:, None])
    assert found < 1.1 * peer.inertia_ / len(weights)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("codebook", ["uniform", "kmeans"])
def test_what_was_pruned_stays_zero(width, codebook):
    weights = normal(40, 30) + 0.3
    weights[np.random.default_rng(1).random(weights.shape) < 0.6] = 0
    found = decoded(scheme(width, codebook=codebook)(weights))
    assert (found[weights == 0] == 0).all()


@pytest.mark.parametrize("width", [width for width in WIDTHS if width != "fp16"])
@pytest.mark.parametrize("codebook", ["uniform", "kmeans"])
def test_no_more_values_are_left_than_the_width_has(width, codebook):
    found = scheme(width, codebook=codebook, per_row=False)(normal(50, 40))
    assert len(np.unique(decoded(found))) <= levels_of(width) == found.levels


def test_eight_bits_have_the_error_of_rounding():
    weights = normal(60, 50)
    step = 2 * np.abs(weights).max() / 255
    assert error(weights, uniform(weights, levels=256, per_row=False)) <= 1.01 * step**2 / 12


def test_a_scale_for_each_row_serves_rows_of_different_size():
    weights = normal(20, 100) * np.logspace(-3, 3, 20, dtype=np.float32)[:, None]
    one, each = (decoded(uniform(weights, levels=16, per_row=rows)) for rows in (False, True))
    relative = [np.linalg.norm(found - weights, axis=1) / np.linalg.norm(weights, axis=1) for found in (one, each)]
    assert relative[0].max() == pytest.approx(1, abs=0.01)  # the small rows are gone
    assert relative[1].max() < 0.15


def test_the_error_of_a_weight_beside_larger_ones_is_not_hidden_by_an_outlier():
    weights = np.concatenate([normal(10_000), [np.float32(100)]])
    assert error(weights[:-1], uniform(weights[:-1], levels=16, per_row=False)) < 0.012


@pytest.mark.parametrize("make", [lambda w: uniform(w, levels=16, per_row=True), lambda w: kmeans(w, levels=16)])
def test_a_tensor_of_zeros_stays_one(make):
    assert (decoded(make(np.zeros((4, 5), dtype=np.float32))) == 0).all()


def test_half_precision_has_eleven_bits():
    weights = normal(1000)
    assert np.abs(decoded(half(weights)) / weights - 1).max() <= 2**-11
    with pytest.raises(UserError, match="too large for fp16"):
        half(np.array([1e5], dtype=np.float32))


def test_product_codes_find_rows_that_are_few_in_each_group():
    generator = np.random.default_rng(0)
    kinds = np.concatenate([np.zeros((1, 2, 3)), generator.normal(size=(9, 2, 3))])
    choice = generator.integers(10, size=(500, 2))
    table = kinds[choice, np.arange(2)].reshape(500, 6).astype(np.float32)
    found = product(table, groups=2, levels=32)
    assert len(found.parts["codes"]) == 1000 and len(found.parts["book"]) == 32 * 6
    assert np.abs(decoded(found) - table).max() < 2e-3  # of the book's half precision


def test_groups_that_do_not_divide_the_columns_are_refused_with_those_that_do():
    with pytest.raises(UserError, match="Use: 1, 2, 3, 4, 6, 12"):
        product(normal(9, 12), groups=5)


def test_equal_weights_give_equal_codes():
    weights = normal(300, 8)
    assert all(
        (one.parts[name] == two.parts[name]).all()
        for one, two in [(product(weights, groups=4, seed=3), product(weights, groups=4, seed=3))]
        for name in one.parts
    )


def test_an_unknown_width_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="no width called '7'"):
        scheme("7")


@pytest.mark.parametrize("levels", [3, 16, 256])
def test_scales_in_half_precision_lose_nothing_that_could_be_seen(levels):
    weights = normal(40, 300) * np.logspace(-1, 1, 40, dtype=np.float32)[:, None]
    short = uniform(weights, levels=levels, per_row=True)
    exact = uniform(weights * 2.0**-20, levels=levels, per_row=True)  # too small for half precision
    assert (short.parts["scales"].dtype, exact.parts["scales"].dtype) == ("<f2", "<f4")
    assert error(weights, short) < 1.005 * error(weights * 2.0**-20, exact) * 2.0**40
