"""Images that are kept as bytes have to be indistinguishable from floats, apart from what they weigh."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from vae_utils.data import binarise, require_images
from vae_utils.files import load_tensors, save_tensors
from vae_utils.models import mlp_vae
from vae_utils.support.byte_images import ARRANGING, LARGE, ByteImages
from vae_utils.training import fit

N = 1200


@pytest.fixture(scope="module")
def stored():
    return torch.randint(0, 256, (N, 1, 6, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(scope="module")
def images(stored):
    return ByteImages(stored)


@pytest.fixture(scope="module")
def floats(stored):
    return stored.float() / 255


INDICES = {
    "one": 3,
    "last": -1,
    "few": slice(10, 20),
    "steps": slice(None, None, 100),
    "many": slice(1100),
    "all": slice(None),
    "numbers": torch.tensor([5, 5, -2]),
    "list": [1, 2],
    "mask": torch.arange(N) % 7 == 0,
    "pixel": (slice(None), 0, 2, 3),
    "rows": (..., slice(1, 3)),
    "new axis": (None, slice(3)),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_an_index_takes_the_same_floats(images, floats, index):
    taken = images[index]
    assert taken.dtype == torch.float32 and torch.equal(taken + 0, floats[index])


OPERATIONS = {
    "arithmetic": lambda x: 1 - 2 * x,
    "comparison": lambda x: x > 0.5,
    "flatten": lambda x: x.flatten(1),
    "double": lambda x: x.double(),
    "to double": lambda x: x.to(torch.float64),
    "mean over pixels": lambda x: x.mean((1, 2, 3)),
    "cat": lambda x: torch.cat([x, x[:2]]),
    "function": lambda x: torch.xlogy(x, x),
    "network": lambda x: torch.nn.functional.avg_pool2d(x, 2),
    "in place of another": lambda x: torch.ones(x.shape).lt_(x),
    "numpy": lambda x: torch.from_numpy(np.asarray(x).copy()),
    "copy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "stack of an iteration": lambda x: torch.stack(list(x)),
    "split": lambda x: torch.cat(x.split(500)),
    "a split part": lambda x: x.split(500)[1] * 2,
    "vmap": lambda x: torch.vmap(lambda image: image.sum())(x),
    "loader": lambda x: torch.cat([batch for (batch,) in DataLoader(TensorDataset(x), batch_size=300)]),
    "unchanged": lambda x: x.to("cpu").cpu().to(torch.float32) + 0,
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_operations_give_what_floats_give(images, floats, operation):
    result, expected = operation(images), operation(floats)
    assert type(result) is torch.Tensor and torch.equal(result, expected) and result.dtype == expected.dtype


def test_it_says_of_itself_what_floats_say(images, floats):
    assert torch.is_tensor(images) and images.is_floating_point() and len(images) == N
    assert (images.shape, images.dtype, images.device) == (floats.shape, floats.dtype, floats.device)
    assert str(images) == str(floats)


@pytest.mark.parametrize("keepdim", [False, True])
def test_the_mean_over_images_is_exact(stored, images, keepdim):
    exact = stored.double().mean(0, keepdim=keepdim) / 255
    assert torch.allclose(images.mean(0, keepdim=keepdim).double(), exact, rtol=1e-7, atol=0)
    assert images.mean().item() == pytest.approx(exact.mean().item(), rel=1e-7)


RESTING = {
    "same device": lambda x: x.cpu(),
    "part": lambda x: x[: LARGE // 30 + 1],
    "split": lambda x: x.split(9)[0],
    "chosen": lambda x: x[torch.arange(len(x)) % 50 > 0],
    "scrambled": lambda x: x.flatten(2)[..., torch.randperm(30)].view_as(x),
    "turned": lambda x: x.transpose(2, 3).flip(3).roll(1, 2).permute(0, 1, 3, 2).movedim(1, -1),
    "reshaped": lambda x: x.view(-1, 30).reshape(-1, 1, 5, 6),
}


@pytest.mark.parametrize("rests", RESTING.values(), ids=RESTING)
def test_a_large_part_rests_as_bytes(stored, rests):
    many = stored.repeat(LARGE // stored.numel() + 5, 1, 1, 1)
    results = []
    for x in (ByteImages(many), many.float() / 255):
        torch.manual_seed(0)
        results.append(rests(x))
    assert type(results[0]) is ByteImages and torch.equal(results[0].floats(), results[1])


def test_a_view_of_bytes_takes_no_memory(images):
    for part in (images.cpu(), images.split(5)[0], ByteImages(images.stored.expand(40, *images.shape))[1:]):
        assert part.stored.untyped_storage().data_ptr() == images.stored.data_ptr()


def test_what_arranges_is_a_method_of_tensors():
    assert all(hasattr(torch.Tensor, name) for name in ARRANGING)


def _add(images):
    images += 1


def _set(images):
    images[0] = 0


WRITES = {"+=": _add, "[0] =": _set, "clamp_": lambda x: x.clamp_(0, 1), "out": lambda x: torch.add(x, 1, out=x)}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writing_into_them_is_refused_and_changes_nothing(stored, images, write):
    before = stored.clone()
    with pytest.raises(ValueError, match=r"only to be read, got .*clone\(\)"):
        write(images)
    assert torch.equal(stored, before)
    write(images.clone())


def test_nobody_reads_floats_where_there_are_none(images):
    with pytest.raises(ValueError, match="only to be read, got"):
        images.data_ptr()


def test_the_library_takes_them(images, floats, tmp_path):
    require_images(images, (1, 6, 5))
    draws = [binarise(x, torch.Generator().manual_seed(1)) for x in (images, floats)]
    assert torch.equal(*draws)
    save_tensors(tmp_path / "images.safetensors", {"x": images}, {})
    assert torch.equal(load_tensors(tmp_path / "images.safetensors")[0]["x"], floats.half().float())
    bounds = []
    for x in (images, floats):
        torch.manual_seed(0)
        vae = mlp_vae(2, (8,), image_shape=(1, 6, 5))
        bounds.append(fit(vae, x, test=x, epochs=1, batch_size=100, progress=False)[-1].test_elbo)
    assert bounds[0] == bounds[1]
