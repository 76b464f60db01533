"""The results table and the scoreboard: the stored models under one evaluation; the paper beside our records."""

from dataclasses import asdict

from vae_utils.evaluation import active_units, evaluate
from vae_utils.files import write_atomically
from vae_utils.models import load_vae
from vae_utils.reproduce.common import Command, full_mnist, record, say, summary, with_error
from vae_utils.reproduce.likelihood import EVERY, stored_likelihood
from vae_utils.reproduce.scoreboard import markdown, scoreboard
from vae_utils.reproduce.stored_models import RECIPES


def table(options):
    """The results table (stored models, paired) and the scoreboard of the paper's claims (`scoreboard.md`)."""
    mnist = full_mnist()
    rows, elbos = {}, {}
    for name in RECIPES:
        vae = load_vae(name)
        result = evaluate(vae, mnist.test)
        elbos[name], active = result.elbo, int(active_units(vae, mnist.test).sum())
        rows[name] = summary(result) | {"active_units": active, "latent_size": vae.latent_size}
        say(f"{name}: {result}, {active} of {vae.latent_size} units in use")
    mlp, every = stored_likelihood("mlp", options)
    for name in EVERY:
        if name != "mlp":
            rows |= _against_mlp(name, elbos[name] - elbos["mlp"], mlp, every, options)
    claims = scoreboard(options.out, mnist.test)
    text = markdown(claims)
    with write_atomically(options.out / "scoreboard.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)
    rows["scoreboard"] = [asdict(claim) for claim in claims]
    record(options, rows)


def _against_mlp(name, elbo_difference, mlp, every, options):
    """One model beside the MLP, image by image: ELBO, log p(x), and what that makes of log p(x) of all images."""
    scored, one_in = stored_likelihood(name, options)
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


def _paired(name, difference, what):
    found = with_error("difference", difference) | {"images": f"{len(difference):,} test images"}
    say(f"{name} above mlp, {what}: {found}   [paired, nats per image]")
    return found


COMMAND = Command(table, stage=3)
