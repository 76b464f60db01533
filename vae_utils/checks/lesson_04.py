"""Feedback on the exercises of lesson 04: the density q(z) of all codes, remembered codes, the cost of other axes."""

import math

import torch
from torch.distributions import Normal

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on


def _itself(value):
    return value


def _total(terms):
    return terms.sum(-1)


# --- log q(z)


def _log_mean(log_p):
    """log (1/N) sum exp over the images, dimension 1."""
    return log_p.logsumexp(1) - math.log(log_p.shape[1])


def _log_aggregate(mean, scale, z, *, width=_itself, latents=_total, images=_log_mean, constant=0.0):
    elementwise = Normal(mean, width(scale)).log_prob(z[:, None])  # [M, N, D]
    return images(latents(elementwise + constant))


def _gaussian_with_the_moments(mean, scale, z):
    variance = scale.square().mean(0) + mean.var(0, unbiased=False)
    return Normal(mean.mean(0), variance.sqrt()).log_prob(z).sum(-1)


_ONE = (
    "Averaging parameters gives one Gaussian; averaging densities gives a mixture with one hill for each image. Only "
    "the mixture has valleys, and they are the holes."
)
_DENSITY_MISTAKES = mistakes_in(
    _log_aggregate,
    {
        "Each code is compared with one image only, the one in the same row, as broadcasting pairs them when M = N. "
        "Every code needs every image: z[:, None] makes room for them, "
        "shape [M, N, D].": lambda mean, scale, z: Normal(mean, scale).log_prob(z).sum(-1),
        "Each latent is averaged over images on its own, before the latents are summed. That forgets which numbers "
        "belong to the same image: a place with one image's z1 and another's z2 looks full. Sum over latents first, "
        "inside the logsumexp.": lambda mean, scale, z: _log_mean(Normal(mean, scale).log_prob(z[:, None])).sum(-1),
        f"This is a Gaussian with the mean of all means and of all widths. {_ONE}": lambda mean, scale, z: (
            Normal(mean.mean(0), scale.mean(0)).log_prob(z).sum(-1)
        ),
        f"This is one Gaussian with the mixture's mean and variance. {_ONE}": _gaussian_with_the_moments,
    },
    images={
        "This is the mean of the logarithms; the task asks for the logarithm of the mean. A code needs one image that "
        "lies near it, but the mean of logs asks all images at once: it falls to hundreds of nats below log q(z) even "
        "in the middle of a class, and would call the whole plane a hole.": lambda log_p: log_p.mean(1),
        "log N is missing: this is the logarithm of the sum over images, not of their mean. q(z) would integrate to N, "
        "and with 60,000 images every log q(z) is 11 nats too high: "
        "no hole would ever be found.": lambda log_p: log_p.logsumexp(1),
        "You divide by M, the number of codes asked about, "
        "but the mean is over the N images. Where M = N nobody notices; elsewhere the density of a place depends on "
        "how many places you ask about.": lambda log_p: log_p.logsumexp(1) - math.log(len(log_p)),
        "The sum runs over the codes z, dimension 0, instead of over the images, dimension 1. With as many codes as "
        "images even the shape is right, and the numbers say how typical an image is, "
        "not a place.": lambda log_p: log_p.logsumexp(0) - math.log(len(log_p)),
        "Only the nearest image is counted, by max in the place of logsumexp. Where many ellipses overlap, in the "
        "middle of the plane, "
        "q(z) comes out several times too small.": lambda log_p: log_p.amax(1) - math.log(log_p.shape[1]),
        "The formula is right, but not in floating point: far from all images every exp(...) underflows to 0, and log "
        "0 is −inf, just where you look for holes. "
        "logsumexp takes the largest term out first.": lambda log_p: log_p.exp().mean(1).log(),
        "This is the density q(z); the task asks for its logarithm, in nats. Far from all images q(z) underflows to 0, "
        "and cannot be compared any more.": lambda log_p: _log_mean(log_p).exp(),
    },
    latents={
        "The logarithms are averaged over the latents; "
        "a density over all D of them is a product, so they are summed. With 32 latents the mean would make every "
        "place look 32 times less extreme in nats.": lambda log_p: log_p.mean(-1)
    },
    width={
        "The square root of `scale` is used as σ, as if scale were a variance. It is σ already: the ellipses come out "
        "too wide, and cover the holes between them.": torch.sqrt,
        "scale² is used as σ. The square belongs into the exponent, (z − mean)² / scale², and Normal takes σ itself: "
        "the ellipses come out too narrow, and the plane full of holes that are not there.": torch.square,
        "exp(scale) is used as σ, as if scale were a logarithm. It is σ already. Every ellipse would be wider than the "
        "prior, and no hole left.": torch.exp,
        "exp(½ scale) is used as σ, as if scale were a log-variance. It is σ already. Every ellipse would be wider "
        "than the prior, and no hole left.": lambda scale: (0.5 * scale).exp(),
    },
    constant={
        "The 2π is missing: log q(z) is off by ½ log 2π ≈ 0.92 nats a latent. It cancels only if log p(z), with which "
        "it will be compared, leaves it out too.": 0.5 * math.log(2 * math.pi)
    },
)


@undisturbed
def log_aggregate(answer):
    """Exercise `log_aggregate`: log q(z) = log (1/N) sum_n N(z; mean_n, diag scale_n^2).

    The function gets mean and scale, the means and standard deviations of q(z|x_n), [N, D] each, and codes z, [M, D].
    It returns nats, [M].
    """
    generator = torch.Generator().manual_seed(4)

    def case(name, N, D, M, spread=1.0, dtype=torch.float32):
        mean = torch.randn(N, D, generator=generator, dtype=dtype)
        scale = 0.1 + 0.7 * torch.rand(N, D, generator=generator, dtype=dtype)
        return Case(name, (mean, scale, spread * torch.randn(M, D, generator=generator, dtype=dtype)))

    means, far = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.5]]), torch.tensor([[8.0, -6.0], [0.5, 3.0]])
    arguments = means, torch.full((3, 2), 0.05), far
    cases = [
        case("6 images, 2 latents and 4 codes", 6, 2, 4),
        case("3 images, 5 latents and 7 codes", 3, 5, 7),
        case("4 images, 4 latents and 4 codes", 4, 4, 4),
        case("a single image and code", 1, 3, 1),
        # log 0 is to be a wrong number like others
        Case("two codes far from all images", arguments, view=lambda log_q: log_q.clamp(min=-1e9)),
        case("500 images, 32 latents and 3 codes in float64", 500, 32, 3, 0.5, torch.float64),
    ]
    right = (
        "This is the density that the decoder was trained on. It holds far from all codes as well, where every term "
        "underflows, and that is where holes are: places where log q(z) lies far below log p(z)."
    )
    return verdict_on(answer, _log_aggregate, cases, _DENSITY_MISTAKES, right=right)


# --- a sampler that remembers all codes


def _rows(codes, count):
    return codes[torch.randint(len(codes), (count,))]


def _remembered(
    codes, width, count=1000, *, rows=_rows, spread=lambda codes: codes.std(0), noise=torch.randn_like, strength=_itself
):
    chosen = rows(codes, count)
    return chosen + strength(width) * spread(codes) * noise(chosen)


_MEMORY_SLIPS = dict(
    noise={
        "All draws share one draw of the noise: it is drawn with shape [D], once. Every code is moved by the same "
        "step, so that this is the old cloud, shifted, and nothing new is ever drawn. "
        "Draw noise of shape [count, D].": lambda rows: torch.randn(rows.shape[1]).to(rows),
        "All latents of one draw share one number of noise: codes move along a single direction, and the rest of the "
        "latent space stays as empty as it was. "
        "Draw noise of shape [count, D].": lambda rows: torch.randn(len(rows), 1).to(rows),
        "No noise arrives: sampling has been replaced by its mean. Whatever the width, this returns codes of training "
        "images and nothing else, a copying machine.": torch.zeros_like,
        "The noise is uniform between 0 and 1 (rand), not Gaussian (randn): it moves all codes the same way, and has "
        "no more than 0.29 of the width asked for.": torch.rand_like,
    },
    spread={
        "The noise has the same width in every latent, whatever the codes do: it is not multiplied by their standard "
        "deviation, codes.std(0). An autoencoder's codes have no unit; "
        "what is a whisper in one latent drowns another.": lambda codes: 1.0,
        "One standard deviation is used for all latents. They differ, so take it in each dimension, codes.std(0): else "
        "the narrow latents drown in the noise of the wide ones.": lambda codes: codes.std(),
        "The noise is multiplied by the variance of the codes, not by their standard deviation. A Gaussian step of "
        "width s is s times a standard normal draw.": lambda codes: codes.var(0),
    },
    strength={
        "The square root of `width` is used. "
        "It is in standard deviations already, so it multiplies the noise as it is.": math.sqrt,
        "`width` has no effect: the noise is as wide as the codes at every setting.": lambda width: 1.0,
    },
    rows={
        "These are the first codes, in order, not random ones; if `count` is larger than the number of codes, there "
        "are too few. torch.randint(len(codes), (count,)) chooses rows.": lambda codes, count: codes[:count],
        "randperm never chooses a code twice, so it cannot return more draws than there are codes. "
        "A sample is drawn with replacement: "
        "torch.randint(len(codes), (count,)).": lambda codes, count: codes[torch.randperm(len(codes))[:count]],
        "All draws start from one and the same code: one row was chosen for the whole batch. "
        "Choose `count` of them.": lambda codes, count: codes[torch.randint(len(codes), (1,))].expand(count, -1),
        "Each latent is taken from another image. "
        "That keeps the width of every latent and forgets which numbers go together: "
        "choose whole rows.": lambda codes, count: torch.stack([_rows(column, count) for column in codes.T], 1),
        "The draws start from the mean of all codes, not from codes: this is one Gaussian, "
        "and has forgotten what it should remember.": lambda codes, count: codes.mean(0).expand(count, -1),
    },
)
# One keyword at a time makes no pairs: an average over draws does not tell all of them apart.
_MEMORY_MISTAKES = [
    mistake for keyword, wrong in _MEMORY_SLIPS.items() for mistake in mistakes_in(_remembered, **{keyword: wrong})
]


def _memory_cases():
    """16 codes so far apart that a draw with little noise tells its origin, in latents of unlike width."""
    generator = torch.Generator().manual_seed(6)
    codes = 5 + torch.tensor([1.0, 10.0, 0.1]) * torch.randn(16, 3, generator=generator)
    many = (torch.tensor([0.3, 3.0]) * torch.randn(400, 2, generator=generator)).double()
    deviation = codes.std(0)

    def origins(z):
        return torch.cdist(z.float() / deviation, codes / deviation).argmin(1)

    def traces(z, width):
        """Of draws: how wide and how alike their steps away from codes are, and how many codes they use."""
        steps = ((z - codes[origins(z)]) / deviation / width).clamp(-6, 6)  # [count, 3]
        centred = steps - steps.mean(0)
        alike = (centred[:, 0] * centred[:, 1]).mean() / (centred.square().mean() + 1e-6)
        moved = (steps.abs() > 0.01).float().mean()
        used = len(origins(z).unique()) / len(codes)
        return torch.cat([steps.std(0), torch.stack([alike, moved, torch.tensor(used)])])

    def in_order(z):
        """Share of draws that come from the code of their own number."""
        return (origins(z) == torch.arange(len(z))).float().mean()

    def relative_width(z):
        return z.std(0) / many.std(0)

    def case(name, stored, width, count, view, atol):
        """`view` is of `count` draws; too few or too many are told by their shape alone."""
        shape = (count, stored.shape[1])
        arguments = (stored, width, count) if count != 1000 else (stored, width)
        return Case(name, arguments, lambda z: view(z) if z.shape == shape else z.new_zeros(1), atol)

    few = "16 codes of 3 latents"
    return [
        # With 4,000 draws a standard deviation has a standard error of 1.1%; clipped steps have one near 5.
        case(f"{few}, width 0.02 and 4,000 draws", codes, 0.02, 4000, lambda z: traces(z, 0.02), 0.2),
        case(f"{few}, width 0 and 500 draws", codes, 0.0, 500, lambda z: traces(z, 1.0), 0.3),
        case(f"{few}, width 0.02 and 12 draws", codes, 0.02, 12, in_order, 0.6),  # 1 in 16, or all
        case("400 codes in float64, width 1 and 4,000 draws", many, 1.0, 4000, relative_width, 0.12),
        case("400 codes in float64 and no `count`", many, 0.3, 1000, relative_width, 0.2),
    ]


@undisturbed
def remembered(answer):
    """Exercise `remembered`: codes of random images, with noise of their proportions.

    The function gets codes, [N, D], the width of the noise in standard deviations of the codes, and count, how many
    draws to return (1000 if not given), which may exceed N. It returns draws, [count, D].
    """
    right = (
        "A row for each draw, noise of its own for each number, in the units of each latent. Statisticians know this "
        "sampler as a kernel density estimate: its one parameter says how much it invents."
    )
    return verdict_on(answer, _remembered, _memory_cases(), _MEMORY_MISTAKES, right=right)


# --- what axes are worth


def _cost_of_turning(scale, rotation, *, half=0.5, power=-2, weight=torch.square, logs=2.0, over=_total):
    """1/2 (sum_j log lambda_j + sum_j log scale_j^2), lambda the diagonal of R diag(scale^-2) R^T: [N]."""
    precision = scale.pow(power) @ weight(rotation).T
    return half * over(precision.log() + logs * scale.log())


def _other_direction(scale, rotation):
    variance = scale.square() @ rotation.square().T  # the diagonal of S
    return 0.5 * (variance.log() - 2 * scale.log()).sum(1)


_TURNING_MISTAKES = mistakes_in(
    _cost_of_turning,
    {
        "This is the nearest diagonal Gaussian in the other direction, KL(N(μ, S) ‖ Q), which keeps the variances, the "
        "diagonal of S. The bound loses KL(q ‖ posterior), q first: there the precisions are kept, the diagonal of "
        "S⁻¹, and q comes out narrower.": _other_direction
    },
    half={
        "The factor ½ is missing: twice the nats.": 1.0,
        "The sign is turned. A diagonal q can only lose by a rotation, so the cost is 0 or more for every image.": -0.5,
    },
    logs={
        "log σ stands where log σ² is needed: take 2 log σ. With the identity as rotation nothing may be lost, and "
        "that is a quick test of such slips.": 1.0,
        "The second sum, of log σ², is missing. With the identity as rotation nothing may be lost, and that is a quick "
        "test of such slips.": 0.0,
        "The second sum has the wrong sign: log λ and log σ² are added. "
        "They cancel for the identity, where λ = 1/σ².": -2.0,
    },
    power={
        "1/σ is used as the precision; it is 1/σ². `scale` holds standard deviations.": -1,
        "This is the diagonal of S itself, the variances, in the place of the precisions: R diag(σ⁻²) Rᵀ has the "
        "inverse variances in the middle.": 2,
    },
    weight={
        "The diagonal of R diag(σ⁻²) Rᵀ has the squares of R's entries: λ_j = Σ_k R_jk² σ_k⁻². With R itself a "
        "precision can even come out negative, and its logarithm as nan.": lambda rotation: rotation,
        "The rotation goes the other way: this is the diagonal of Rᵀ diag(σ⁻²) R, the cost of turning by R's inverse. "
        "With a symmetric R nobody would notice.": lambda rotation: rotation.square().T,
    },
    over={
        "The terms are averaged over the latents. A KL of independent dimensions is their sum, in nats per image; the "
        "mean makes 32 latents look as cheap as one.": lambda terms: terms.mean(-1),
        "The sum runs over the images, dimension 0, instead of over the latents. With as many images as latents even "
        "the shape is right.": lambda terms: terms.sum(0),
        "The average over images is taken inside the function; "
        "the task asks for one number for each image, shape [N].": lambda terms: terms.sum(-1).mean(),
        "Everything is summed into one number; the task asks for one number for each image, shape [N].": torch.sum,
    },
)


@undisturbed
def cost_of_turning(answer):
    """Exercise `cost_of_turning`: KL of the best diagonal Q to N(0, R diag(scale^2) R^T).

    The function gets scale, standard deviations of q(z|x), [N, D], and rotation, an orthogonal matrix, [D, D]. It
    returns nats, [N].
    """
    generator = torch.Generator().manual_seed(5)

    def case(name, N, D, dtype=torch.float32):
        scale = 0.05 + torch.rand(N, D, generator=generator, dtype=dtype)
        return Case(name, (scale, torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=dtype)).Q))

    extreme, alike = torch.tensor([[0.001, 1.0], [1.0, 0.02]]), torch.tensor([[0.30, 0.35], [0.50, 0.40], [0.20, 0.25]])
    eighth = torch.tensor([[1.0, -1.0], [1.0, 1.0]]) / 2**0.5
    little = torch.tensor([[0.96, -0.28], [0.28, 0.96]])  # λ > 0 even with R's entries, not squared
    cases = [
        case("5 images of 3 latents", 5, 3),
        case("4 images of 4 latents", 4, 4),
        Case("no rotation", (0.1 + torch.rand(3, 2, generator=generator), torch.eye(2))),
        Case("narrow ellipses, turned by 45 degrees", (extreme, eighth)),
        Case("3 images of 2 latents, turned a little", (alike, little)),
        case("3 images of 32 latents in float64", 3, 32, torch.float64),
    ]
    right = (
        "The evidence is the same in every system of axes; the bound is not, since q is diagonal in one of them only. "
        "This is all that makes a VAE's axes special."
    )
    return verdict_on(answer, _cost_of_turning, cases, _TURNING_MISTAKES, right=right)
