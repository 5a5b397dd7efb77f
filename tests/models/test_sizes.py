import pytest

from videodit.config import ConfigError
from videodit.models import autoencoder, dit, text
from videodit.models.sizes import lookup


def test_an_unknown_size_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"dit.size='XLL': did you mean 'XL'"):
        lookup("dit.size", "XLL", dit.SIZES)


def test_xl_is_the_published_size_with_heads_of_128():
    assert dit.SIZES["XL"] == (28, 1152, 8, 128, 4608)


@pytest.mark.parametrize("sizes", [autoencoder.SIZES, dit.SIZES, text.SIZES])
def test_heads_are_pairs_that_three_axes_can_share(sizes):
    assert all(s.head_size % 8 == 0 and s.heads % 2 == 0 for s in sizes.values())
