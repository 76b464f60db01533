"""The decoder of the website's first page: the manifold in a sixteenth of its weights."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from vae_utils.files import save_tensors
from vae_utils.models import load_vae, mlp_vae
from vae_utils.reproduce.common import Command, record
from vae_utils.reproduce.provenance import versions
from vae_utils.training import fused

HIDDEN = (48, 96, 64)  # of the encoder, which is not stored; the decoder has them in reverse
EXTENT, SIDE = 3.6, 160  # of the grid of codes: a little more than the page shows, and enough points to be smooth
STEPS, BATCH, RATE = 6000, 512, 1e-2


def front(options):
    """Teach a small decoder the means of the stored 2-D model; keep it with the distance between the two."""
    teacher = load_vae("manifold").eval()
    torch.manual_seed(options.seed)
    student = mlp_vae(2, HIDDEN).decoder
    codes, means = _grid(teacher)
    _teach(student, codes, means, options.epochs or 1)
    between = codes[:-1] + EXTENT / SIDE  # the middle of four codes that were learned from
    with torch.no_grad():
        off = (student(between).sigmoid() - teacher.decode(between).mean).abs()
    results = {
        "copies": "the decoder of manifold.safetensors",
        "hidden": list(HIDDEN),
        "weights": sum(weight.numel() for weight in student.parameters()),
        "of": sum(weight.numel() for weight in teacher.decoder.parameters()),
        "grey_levels_off": round(255 * off.mean().item(), 2),
    }
    print(f"front: {results}")
    about = {"results": results, "versions": versions()}
    save_tensors(options.out / "front.safetensors", student.state_dict(), about)
    record(options, results, "front.safetensors")


@torch.no_grad()
def _grid(teacher):
    """Codes on an even grid of the plane, and the means of p(x|z) there."""
    codes = torch.cartesian_prod(*2 * [torch.linspace(-EXTENT, EXTENT, SIDE)])
    return codes, torch.cat([teacher.decode(some).mean for some in codes.split(2000)])


def _teach(student, codes, means, share):
    steps = round(share * STEPS)
    optimiser = fused(torch.optim.Adam, list(student.parameters()), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1)
    for _ in range(steps):
        batch = torch.randint(len(codes), (BATCH,))
        optimiser.zero_grad()
        loss = binary_cross_entropy_with_logits(student(codes[batch]), means[batch], reduction="none")
        loss.sum((1, 2, 3)).mean().backward()
        optimiser.step()
        schedule.step()


COMMAND = Command(front, stage=2, options=("epochs", "seed"))
