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


def _log_aggregate(
    mean,
    scale,
    z,
    *,
    width=_itself,
    half=0.5,
    power=2,
    logs=1.0,
    constant=0.5 * math.log(2 * math.pi),
    latents=_total,
    images=_log_mean,
):
    width = width(scale)
    squares = ((z[:, None] - mean) / width).abs() ** power
    return images(latents(-half * squares - logs * width.log() - constant))  # [M, N, D] to [M, N] to [M]


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
        "Every code needs every image: z[:, None].": lambda m, s, z: Normal(m, s).log_prob(z).sum(-1),
        "Each latent is averaged over images on its own, before the latents are summed. That forgets which numbers "
        "belong to the same image. Sum over "
        "latents first, inside the logsumexp.": lambda m, s, z: _log_mean(Normal(m, s).log_prob(z[:, None])).sum(-1),
        f"This is a Gaussian with the mean of all means and of all widths. {_ONE}": lambda mean, scale, z: (
            Normal(mean.mean(0), scale.mean(0)).log_prob(z).sum(-1)
        ),
        f"This is one Gaussian with the mixture's mean and variance. {_ONE}": _gaussian_with_the_moments,
        f"This is one Gaussian around all means, without the widths of the images. {_ONE}": lambda mean, scale, z: (
            Normal(mean.mean(0), mean.std(0, correction=min(1, len(mean) - 1)) + 1e-30).log_prob(z).sum(-1)
        ),
        "This is log p(z), the prior's density: neither means nor widths are used.": lambda m, s, z: (
            Normal(0.0, 1.0).log_prob(z).sum(-1)
        ),
        "This is log q(z) - log p(z); the task asks for log q(z).": lambda m, s, z: (
            _log_aggregate(m, s, z) - Normal(0.0, 1.0).log_prob(z).sum(-1)
        ),
    },
    images={
        "This is the mean of the logarithms; the task asks for the logarithm of the mean. A code needs one image that "
        "lies near it, but the mean of logs asks all images at once.": lambda l: l.mean(1),
        "This is the sum of the logarithms: the density of a code that all images produce at once. The task asks for "
        "the logarithm of the mean.": lambda l: l.sum(1),
        "log N is missing: this is the logarithm of the sum over images, not of their mean.": lambda l: l.logsumexp(1),
        "log N is added, where it should be subtracted.": lambda l: l.logsumexp(1) + math.log(l.shape[1]),
        "The logarithm of the sum is divided by N. The sum itself is: subtract log N.": lambda l: (
            l.logsumexp(1) / l.shape[1]
        ),
        "N is subtracted, not log N.": lambda l: l.logsumexp(1) - l.shape[1],
        "You divide by M, the number of codes, but the average is over the N images.": lambda l: (
            l.logsumexp(1) - math.log(len(l))
        ),
        "The average runs over the codes, dimension 0 of [M, N], instead of over the images: it says how well an image "
        "is placed, not a code.": lambda l: l.logsumexp(0) - math.log(len(l)),
        "The average runs over images and codes. Each code has a density of its own.": lambda l: (
            l.flatten().logsumexp(0) - math.log(l.numel())
        ),
        "Only the nearest image is counted, by max instead of logsumexp.": lambda l: l.amax(1) - math.log(l.shape[1]),
        "This is the log-density of the nearest image alone. q(z) is the mean over all images.": lambda l: l.amax(1),
        "This is the log-density of the farthest image.": lambda l: l.amin(1),
        "This is the median over the images, not the mean.": lambda l: l.median(1).values,
        "Only the first image is counted.": lambda l: l[:, 0],
        "The formula is right, but not in floating point: far from all images every exp(...) underflows to 0, and log "
        "0 is -inf, just where you look for holes. Use logsumexp.": lambda l: l.exp().mean(1).log(),
        "A small number is added before the logarithm, so far from all images log q(z) never falls below it, just "
        "where you look for holes. Use logsumexp.": lambda l: (l.exp().mean(1) + 1e-08).log(),
        "Far from all images log q(z) is cut off, just where you look for holes. Use logsumexp.": lambda l: (
            l.exp().mean(1).clamp(min=torch.finfo(l.dtype).tiny).log()
        ),
        "The largest term is taken out before exp(), "
        "which is right, but not added again after the logarithm.": lambda l: _log_mean(l - l.amax(1, keepdim=True)),
        "This is the density q(z); the task asks for its logarithm, in nats.": lambda l: _log_mean(l).exp(),
    },
    latents={
        "The logarithms are averaged "
        "over the latents; a density over all J of them is a product, so they are summed.": lambda l: l.mean(-1),
        "The logarithms "
        "are multiplied over the latents. Densities are multiplied, so logarithms are summed.": lambda l: l.prod(-1),
        "The densities of the latents are added. They are multiplied.": lambda l: l.logsumexp(-1),
        "Only the first latent is used.": lambda l: l[..., 0],
    },
    width={
        "The square root of `scale` is used as σ, as if scale were a variance. It is σ already.": torch.sqrt,
        "scale² is used as σ. Normal takes σ itself.": torch.square,
        "exp(scale) is used as σ, as if scale were a logarithm. It is σ already.": torch.exp,
        "exp(½ scale) is used as σ, as if scale were a log-variance. It is σ already.": lambda s: (0.5 * s).exp(),
        "The widths are not used: all images have σ = 1.": torch.ones_like,
        "All images have the same width, the mean of all.": lambda s: s.mean(0).expand_as(s),
    },
    half={
        "The ½ before the square is missing.": 1.0,
        "The square has the wrong sign: codes far away would be the most probable.": -0.5,
    },
    power={"The distance is not squared.": 1},
    logs={
        "-log σ is missing: narrow ellipses have a high density at their centre.": 0.0,
        "log σ has the wrong sign.": -1.0,
        "log σ counts with ½: it is ½ log σ².": 0.5,
        "log σ counts twice: log σ² = 2 log σ has the factor ½ before it.": 2.0,
    },
    constant={
        "The 2π is missing: log q(z) is off by ½ log 2π ≈ 0.92 nats a latent.": 0.0,
        "The ½ before log 2π is missing.": math.log(2 * math.pi),
    },
)


@undisturbed
def log_aggregate(answer):
    """Exercise `log_aggregate`: log q(z) = log (1/N) sum_n N(z; mean_n, diag scale_n^2).

    The function gets mean and scale, the means and standard deviations of q(z|x_n), [N, J] each, and codes z, [M, J].
    It returns nats, [M].
    """
    generator = torch.Generator().manual_seed(4)

    def case(name, N, D, M, spread=1.0, dtype=torch.float32):
        mean = torch.randn(N, D, generator=generator, dtype=dtype)
        scale = 0.1 + 0.7 * torch.rand(N, D, generator=generator, dtype=dtype)
        return Case(name, (mean, scale, spread * torch.randn(M, D, generator=generator, dtype=dtype)))

    means, far = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.5]]), torch.tensor([[8.0, -6.0], [0.5, 3.0]])
    crowd = torch.linspace(-1.0, 1.0, 200)[:, None]
    arguments = means, torch.full((3, 2), 0.05), far
    cases = [
        case("6 images, 2 latents and 4 codes", 6, 2, 4),
        case("3 images, 5 latents and 7 codes", 3, 5, 7),
        case("4 images, 4 latents and 4 codes", 4, 4, 4),
        case("a single image and code", 1, 3, 1),
        Case("two codes far from all images", arguments),
        Case("200 images, as wide as they are far apart", (crowd, 1 + crowd.abs(), torch.tensor([[0.3], [-4.0]]))),
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
        "No noise is drawn: each code is moved by exactly `width` standard deviations. Multiply them by noise of shape "
        "[count, J].": torch.ones_like,
        "All draws share one draw of the noise: it is "
        "drawn with shape [J], once. Draw noise of shape [count, J].": lambda rows: torch.randn(rows.shape[1]).to(rows),
        "All latents of one draw share one number of noise: codes move along a single direction. Draw noise of shape "
        "[count, J].": lambda rows: torch.randn(len(rows), 1).to(rows),
        "No noise arrives. Whatever the width, this returns codes of training images and nothing else, a copying "
        "machine.": torch.zeros_like,
        "The noise "
        "is uniform between 0 and 1 (rand), not Gaussian (randn): it moves all codes the same way.": torch.rand_like,
        "The noise is uniform between -1 and 1, not Gaussian (randn).": lambda rows: 2 * torch.rand_like(rows) - 1,
        "The noise is never negative: its absolute value is taken.": lambda rows: torch.randn_like(rows).abs(),
        "The noise is a random sign, not Gaussian (randn).": lambda rows: torch.randn_like(rows).sign(),
    },
    spread={
        "The noise has the same width in every latent, whatever the codes do: multiply it by codes.std(0).": lambda c: (
            1.0
        ),
        "One standard deviation is used for all latents. They differ: codes.std(0).": lambda c: c.std(),
        "The noise is multiplied by the variance of the codes, not by their standard deviation.": lambda c: c.var(0),
        "The noise is multiplied by the range of the codes, not by their standard deviation.": lambda c: (
            c.amax(0) - c.amin(0)
        ),
        "The noise is multiplied by the mean of the codes, not by their standard deviation.": lambda c: c.mean(0),
        "The noise is multiplied by the codes, or their distance from 0, not by their standard deviation.": lambda c: (
            c.square().mean(0).sqrt()
        ),
        "The noise is divided by the standard deviation of the codes, where it should be multiplied.": lambda c: (
            1 / c.std(0)
        ),
        "The noise is multiplied by the square root of the codes' standard deviation.": lambda c: c.std(0).sqrt(),
    },
    strength={
        "The square root of `width` is used. It is in standard deviations already.": math.sqrt,
        "The square of `width` is used. It is in standard deviations already.": lambda s: s**2,
        "`width` has no effect: the noise is as wide as the codes at every setting.": lambda s: 1.0,
        "Half of `width` is used.": lambda width: width / 2,
        "Twice `width` is used.": lambda width: width * 2,
        "exp(width) is used, as if it were a logarithm.": math.exp,
    },
    rows={
        "These are the "
        "first codes, in order, not random ones. torch.randint(len(codes), (count,)) chooses rows.": lambda c, n: c[:n],
        "The codes are repeated in their order. torch.randint(len(codes), (count,)) chooses at random.": lambda c, n: c[
            torch.arange(n) % len(c)
        ],
        "randperm never chooses a code twice, so it cannot return more draws than there are codes. Use "
        "torch.randint(len(codes), (count,)).": lambda c, n: c[torch.randperm(len(c))[:n]],
        "All draws start from one and the same code. Choose `count` of them.": lambda c, n: c[
            torch.randint(len(c), (1,))
        ].expand(n, -1),
        "Each latent is taken from another image. Choose whole rows.": lambda c, n: torch.stack(
            [_rows(column, n) for column in c.T], 1
        ),
        "The draws start from the mean of all "
        "codes: this is one Gaussian, and has forgotten what it should remember.": lambda c, n: c.mean(0).expand(n, -1),
        "The codes are forgotten: only noise around 0 is left.": lambda c, n: torch.zeros(n, c.shape[1]),
        "The draws start halfway between two codes, where no image is.": lambda c, n: (_rows(c, n) + _rows(c, n)) / 2,
        "`count` is not used: there are always 1,000 draws.": lambda c, n: _rows(c, 1000),
        "`count` is not used: there are as many draws as codes.": lambda c, n: c,
        "Only the first half of the codes is ever chosen.": lambda c, n: _rows(c[: len(c) // 2], n),
        "The last code is never chosen: randint leaves its upper end out, so no -1 is needed.": lambda c, n: _rows(
            c[:-1], n
        ),
        "The first code is never chosen: indices count from 0.": lambda c, n: _rows(c[1:], n),
    },
)
# One keyword at a time makes no pairs: an average over draws does not tell all of them apart.
_MEMORY_MISTAKES = mistakes_in(_remembered, pairs=(), **_MEMORY_SLIPS)


def _memory_cases():
    """16 codes so far apart that a draw with little noise tells its origin, in latents of different widths."""
    generator = torch.Generator().manual_seed(6)
    codes = 5 + torch.tensor([1.0, 10.0, 0.1]) * torch.randn(16, 3, generator=generator)
    many = 2 + (torch.tensor([0.3, 3.0]) * torch.randn(400, 2, generator=generator)).double()
    deviation = codes.std(0)

    def origins(z):
        return torch.cdist(z.float() / deviation, codes / deviation).argmin(1)

    def traces(z, width):
        """Of draws: how wide, shifted and alike their steps away from codes are, and which codes they use."""
        steps = ((z - codes[origins(z)]) / deviation / width).clamp(-3, 3)  # [count, 3]
        centred = steps - steps.mean(0)
        spread = centred.square().mean().sqrt() + 1e-2
        shift = (steps.mean().abs() / spread).clamp(max=1)
        alike = (centred[:, 0] * centred[:, 1]).mean() / spread**2
        unit = ((steps - 1).abs() < 1e-2).float().mean()
        found = origins(z)
        missing = sorted({*range(len(codes))} - {*found.tolist()})
        used = torch.tensor([len(codes) - len(missing), missing == [0], missing == [len(codes) - 1]]).float()
        most = 4 * (found[:, None] == torch.arange(len(codes))).float().mean(0).amax()
        alone = (found == torch.arange(len(z)) % len(codes)).float().mean()
        return torch.cat(
            [steps.std(0), torch.stack([shift, unit, 2 * centred.abs().mean() / spread, alike, *used, most, alone])]
        )

    def in_order(z):
        """Share of draws that come from the code of their own number."""
        return (origins(z) == torch.arange(len(z))).float().mean()

    def relative_width(z):
        return torch.cat([z.std(0) / many.std(0), (z[:, :1].mean(0) > 1).to(z)])  # the codes' mean is 2 there

    def case(name, stored, width, count, view, of, atol):
        """`view` is of `count` draws; too few or too many are told by their shape alone."""
        shape = (count, stored.shape[1])
        arguments = (stored, width, count) if count != 1000 else (stored, width)
        return Case(name, arguments, lambda z: view(z) if z.shape == shape else z.new_zeros(1), of, atol)

    few, steps = "16 codes of 3 latents", "the steps away from codes (1 is `width` times the spread of the codes)"
    seen = (
        *(f"standard deviation in latent {j} of {steps}" for j in range(3)),
        "shift of the steps, as a share of their standard deviation",
        "share of steps that are exactly 1",
        "twice the mean size of the steps, as a share of their standard deviation",
        "correlation of the steps in the first two latents",
        "number of codes that are used",
        "whether the first code alone is missing (1 or 0)",
        "whether the last code alone is missing (1 or 0)",
        "four times the share of draws that start from the code that is used most",
        "share of draws that start from the code of their own number",
    )
    spread = (
        *(f"spread of the draws in latent {j}, in units of the spread of the codes" for j in range(2)),
        "whether the draws lie where the codes are",
    )
    return [
        # With 4,000 draws a standard deviation has a standard error of 1.1%; clipped steps have one near 5.
        case(f"{few}, width 0.02 and 4,000 draws", codes, 0.02, 4000, lambda z: traces(z, 0.02), seen, 0.07),
        case(f"{few}, width 0 and 500 draws", codes, 0.0, 500, lambda z: traces(z, 1.0), seen, 0.3),
        case(f"{few}, width 0.02 and 12 draws", codes, 0.02, 12, in_order, seen[-1:], 0.6),  # 1 in 16, or all
        case("400 codes in float64, width 1 and 4,000 draws", many, 1.0, 4000, relative_width, spread, 0.12),
        case("400 codes in float64 and no `count`", many, 0.3, 1000, relative_width, spread, 0.2),
    ]


def _same_draws(answer):
    """Two calls have to draw twice."""
    codes = torch.arange(12.0).view(4, 3)
    first, second = (torch.as_tensor(answer(codes, 0.5, 50)) for _ in range(2))
    if torch.equal(first, second):
        return (
            "The draws are the same at every call: a seed is set inside the function. A sampler draws anew each time."
        )
    return None


@undisturbed
def remembered(answer):
    """Exercise `remembered`: codes of random images, with noise of their proportions.

    The function gets codes, [N, J], the width of the noise in standard deviations of the codes, and count, how many
    draws to return (1000 if not given), which may exceed N. It returns draws, [count, J].
    """
    right = (
        "A row for each draw, noise of its own for each number, in the units of each latent. Statisticians know this "
        "sampler as a kernel density estimate: its one parameter says how much it invents."
    )
    return verdict_on(answer, _remembered, _memory_cases(), _MEMORY_MISTAKES, right=right, probes=[_same_draws])


# --- what axes are worth


def _cost_of_turning(
    scale,
    rotation,
    *,
    half=0.5,
    precision=lambda scale, rotation: scale.pow(-2) @ rotation.square().T,
    log=torch.log,
    second=lambda scale: 2 * scale.log(),
    over=_total,
):
    """1/2 (sum_j log lambda_j + sum_j log scale_j^2), lambda the diagonal of R diag(scale^-2) R^T: [N]."""
    return half * over(log(precision(scale, rotation)) + second(scale))


def _other_direction(scale, rotation):
    variance = scale.square() @ rotation.square().T  # the diagonal of S
    return 0.5 * (variance.log() - 2 * scale.log()).sum(1)


def _kl_of_variances(scale, variance, rotation):
    """KL(N(0, diag variance) || S): [N]."""
    trace = (variance * (scale.pow(-2) @ rotation.square().T)).sum(1)
    return 0.5 * (trace - scale.shape[1] + (2 * scale.log() - variance.log()).sum(1))


_TURNING_MISTAKES = mistakes_in(
    _cost_of_turning,
    {
        "This is the nearest diagonal Gaussian in the other direction, KL(N(μ, S) ‖ Q), which keeps the variances, the "
        "diagonal of "
        "S. The bound loses KL(q ‖ posterior): there the precisions are kept, the diagonal of S⁻¹.": _other_direction,
        "This Q keeps the variances, the diagonal of S. The best one "
        "keeps the precisions, the diagonal of S⁻¹.": lambda s, R: _kl_of_variances(s, s.square() @ R.square().T, R),
        "This Q keeps σ as it was before the rotation. "
        "The best one has the diagonal of S⁻¹ as its precisions.": lambda s, R: _kl_of_variances(s, s.square(), R),
        "The J of the trace is subtracted once more. It cancels with the -J of the KL.": lambda s, R: (
            _cost_of_turning(s, R) - 0.5 * s.shape[1]
        ),
        "The J of the trace is added. It cancels with the -J of the KL.": lambda s, R: (
            _cost_of_turning(s, R) + 0.5 * s.shape[1]
        ),
    },
    half={
        "The factor ½ is missing: twice the nats.": 1.0,
        "The sign is turned. A diagonal q can only lose by a rotation, so the cost is 0 or more.": -0.5,
        "The factor ½ is there twice.": 0.25,
    },
    second={
        "log "
        "σ stands where log σ² is needed: take 2 log σ. With the identity as rotation nothing may be lost.": torch.log,
        "The second sum, of log σ², is missing. With the identity as rotation nothing may be lost.": torch.zeros_like,
        "The second sum has the wrong sign: log λ and log σ² are added.": lambda s: -2 * s.log(),
        "The second sum is of σ², without its logarithm.": torch.square,
        "log σ² is doubled once too often: it is 2 log σ.": lambda s: 4 * s.log(),
    },
    log={
        "The logarithm of λ is missing.": _itself,
        "The logarithm is that of 1/λ, the variance, so its sign is turned.": lambda v: -v.log(),
        "The logarithm of √λ is taken: the formula has log λ.": lambda v: v.log() / 2,
    },
    precision={
        "1/σ is used as the precision; it is 1/σ². `scale` holds standard deviations.": lambda s, R: (
            s.pow(-1) @ R.square().T
        ),
        "1/σ⁴ is used as the precision; it is 1/σ². `scale` holds standard deviations.": lambda s, R: (
            s.pow(-4) @ R.square().T
        ),
        "This is the diagonal of S itself, "
        "the variances. The precisions are the diagonal of R diag(σ⁻²) Rᵀ.": lambda s, R: s.square() @ R.square().T,
        "The diagonal of R diag(σ⁻²) Rᵀ has the squares of R's entries: λ_j = Σ_k R_jk² σ_k⁻².": lambda s, R: (
            s.pow(-2) @ R.T
        ),
        "The absolute values of R's entries stand where their squares are needed.": lambda s, R: s.pow(-2) @ R.abs().T,
        "The rotation goes the other way: this is the diagonal of Rᵀ diag(σ⁻²) R.": lambda s, R: s.pow(-2) @ R.square(),
        "The entries of R are not squared, and the rotation goes the other way.": lambda s, R: s.pow(-2) @ R,
        "σ itself is rotated, and then inverted and squared. Precisions are rotated.": lambda s, R: (s @ R.T).pow(-2),
        "1/σ is rotated, and then squared: the terms mix. Square R's entries, and add precisions.": lambda s, R: (
            1 / s @ R.T
        ).square(),
        "The cost is 0 for every rotation: R is not used, or what it does cancels out again.": lambda s, R: (
            s.pow(-2) + 0 * R.sum()
        ),
    },
    over={
        "The terms are averaged over the latents. A KL of independent dimensions is their sum.": lambda t: t.mean(-1),
        "The sum runs over the images, dimension 0, instead of over the latents. With as many images as latents even "
        "the shape is right.": lambda t: t.sum(0),
        "The average over images is taken "
        "inside the function; the task asks for one number for each image, shape [N].": lambda t: t.sum(-1).mean(),
        "Everything is summed into one number; the task asks for one number for each image, shape [N].": torch.sum,
        "The largest term of all latents is taken, not their sum.": lambda t: t.amax(-1),
        "The absolute values are summed. Some terms are negative.": lambda t: t.abs().sum(-1),
    },
)


@undisturbed
def cost_of_turning(answer):
    """Exercise `cost_of_turning`: KL of the best diagonal Q to N(0, R diag(scale^2) R^T).

    The function gets scale, standard deviations of q(z|x), [N, J], and rotation, an orthogonal matrix, [J, J]. It
    returns nats, [N].
    """
    generator = torch.Generator().manual_seed(5)

    def case(name, N, D, dtype=torch.float32):
        scale = 0.05 + torch.rand(N, D, generator=generator, dtype=dtype)
        return Case(name, (scale, torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=dtype)).Q))

    extreme, alike = torch.tensor([[0.03, 1.0], [1.0, 0.1]]), torch.tensor([[0.30, 0.35], [0.50, 0.40], [0.20, 0.25]])
    eighth = torch.tensor([[1.0, -1.0], [1.0, 1.0]]) / 2**0.5
    little = torch.tensor([[0.96, -0.28], [0.28, 0.96]])  # λ > 0 even with R's entries, not squared
    cases = [
        case("1 image of 2 latents", 1, 2),
        case("5 images of 3 latents", 5, 3),
        case("4 images of 4 latents", 4, 4),
        Case("no rotation", (0.1 + torch.rand(3, 2, generator=generator), torch.eye(2))),
        Case("narrow ellipses, turned by 45 degrees", (extreme, eighth)),
        Case("3 images of 2 latents, turned a little", (alike, little)),
        case("3 images of 32 latents in float64", 3, 32, torch.float64),
    ]
    right = (
        "The evidence is the same in every system of axes; the bound is not, since q is diagonal in one of them only. "
        "This is one thing that makes a VAE's axes special."
    )
    return verdict_on(answer, _cost_of_turning, cases, _TURNING_MISTAKES, right=right)
