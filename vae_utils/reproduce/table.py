"""The results table and the scoreboard: the stored models under one evaluation; the paper beside our records."""

from dataclasses import asdict

from vae_utils.evaluation import Estimate, active_units, evaluate
from vae_utils.files import load_tensors, write_atomically
from vae_utils.models import load_vae
from vae_utils.reproduce.common import full_mnist, record, summary
from vae_utils.reproduce.likelihood import EVERY
from vae_utils.reproduce.scoreboard import markdown, scoreboard
from vae_utils.reproduce.stored_models import RECIPES


def table(options):
    """The results table (stored models, paired) and the scoreboard of the paper's claims (`scoreboard.md`)."""
    mnist = full_mnist()
    rows, elbos = {}, {}
    for name in RECIPES:
        vae = load_vae(name)
        result = evaluate(vae, mnist.test)
        elbos[name] = result.elbo
        rows[name] = summary(result) | {
            "active_units": int(active_units(vae, mnist.test).sum()),
            "latent_size": vae.latent_size,
        }
        print(f"{name}: {result}, {rows[name]['active_units']} of {vae.latent_size} units in use", flush=True)
    mlp, every = _stored_likelihood("mlp", options)
    for name in EVERY:
        if name != "mlp":
            rows |= _against_mlp(name, elbos[name] - elbos["mlp"], mlp, every, options)
    claims = scoreboard(options.out, mnist.test)
    text = markdown(claims)
    with write_atomically(options.out / "scoreboard.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)
    rows["scoreboard"] = [asdict(claim) for claim in claims]
    record("table", options, rows)


def _against_mlp(name, elbo_difference, mlp, every, options):
    """One model beside the MLP, image by image: ELBO, log p(x), and what that makes of log p(x) of all images."""
    scored, one_in = _stored_likelihood(name, options)
    # Few images are easy or hard as they come; their difference from the MLP carries over to all that it was scored on.
    gain = _paired(name, scored - mlp[:: one_in // every], "log p(x)")
    everywhere = {
        "log_likelihood": round(mlp.mean().item() + gain["difference"], 3),
        "standard_error": gain["standard_error"],
        "protocol": f"the MLP's mean over {len(mlp):,} images plus the paired difference, whose error it has",
    }
    print(f"{name} on all images, estimated: {everywhere}")
    return {
        f"{name} against mlp, ELBO": _paired(name, elbo_difference, "ELBO"),
        f"{name} against mlp, log p(x)": gain,
        f"{name}, log p(x) of all images": everywhere,
    }


def _stored_likelihood(name, options):
    """What `likelihood` wrote: log p(x) of one test image in so many, nats, and that number."""
    tensors, metadata = load_tensors(options.out / f"likelihood-{name}.safetensors")
    return tensors["log_likelihood"], metadata["every"]


def _paired(name, difference, what):
    estimate, images = Estimate.of(difference), f"{len(difference):,} test images"
    print(f"{name} above mlp, {what}: {estimate} nats per image   [paired, {images}]", flush=True)
    return {
        "difference": round(estimate.mean, 3),
        "standard_error": round(estimate.standard_error, 3),
        "images": images,
    }
