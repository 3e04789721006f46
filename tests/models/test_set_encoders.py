"""What the set encoders are made of: an affine map that puts pixels where its numbers say, and sizes that add up."""

import pytest
import torch

from oneshot_lib.models.set_encoders import PooledConvolutions, SpatialTransformer


def seen(image, *matrix):
    """`image` (1, 1, S, S) through a map of six given numbers."""
    transformer = SpatialTransformer(6).double()
    transformer.affine.weight.data, transformer.affine.bias.data = torch.eye(6).double(), torch.zeros(6).double()
    return transformer(image, torch.tensor([matrix], dtype=torch.float64))


@pytest.mark.parametrize("size", [7, 8])
def test_the_affine_map_looks_where_its_numbers_say(size):
    """Pixel for pixel where it can be. The fault: a grid whose corners are pixel centres, read as if they were not."""
    image = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(seen(image, 1, 0, 0, 0, 1, 0), image)
    blank = torch.zeros(1, 1, size, 2).double()
    torch.testing.assert_close(seen(image, 1, 0, 4 / size, 0, 1, 0), torch.cat([image[..., 2:], blank], -1))
    torch.testing.assert_close(seen(image, 1, 0, 0, 0, 1, -4 / size), torch.cat([blank.mT, image[..., :-2, :]], -2))
    torch.testing.assert_close(seen(image, -1, 0, 0, 0, 1, 0), image.flip(-1))
    torch.testing.assert_close(seen(image, 0, 1, 0, 1, 0, 0), image.mT)


def test_the_affine_map_starts_near_the_identity_and_depends_on_what_it_is_given():
    torch.manual_seed(0)
    matrix = SpatialTransformer(5).matrix(torch.randn(3, 5))
    assert (matrix - torch.tensor([[1.0, 0, 0], [0, 1, 0]])).abs().max() < 0.1
    assert (matrix[0] - matrix[1]).abs().min() > 0


@pytest.mark.parametrize("size", [1, 8, 26, 28, 30, 31, 32, 62, 63, 64])
def test_the_features_of_any_size_are_counted_right(size):
    network = PooledConvolutions(2).eval()
    assert network(torch.zeros(1, 1, size, size)).shape == (1, network.features(size))
