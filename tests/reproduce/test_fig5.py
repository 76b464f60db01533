"""Figure 5 takes the models that Figure 2 has trained."""

import pytest

from vae_utils.reproduce import curves, fig2_mnist, fig5


@pytest.mark.slow
def test_figure_5_draws_from_the_models_of_figure_2(run, out, small_fig2, monkeypatch):
    monkeypatch.setattr(fig5, "SIDE", 3)
    found = run("fig2-mnist", "--samples", 1000, "--latents", 3)["results"]["runs"]["AEVB 3"]
    trained, train = [], fig2_mnist.train_mnist_curve
    monkeypatch.setattr(fig2_mnist, "train_mnist_curve", lambda *args: (trained.append(args[0]), train(*args))[1])
    monkeypatch.setitem(curves.METHODS, "AEVB", lambda vae, x: pytest.fail("trained again"))
    curves.METHODS["AEVB"].__qualname__ = "elbo"
    again = run("fig5", "--samples", 1000, "--latents", 3)["results"]["3 latents"]
    assert trained == ["fig2-mnist AEVB 3"] and (out / "fig5.png").is_file()
    assert again["elbo"] == pytest.approx(found["elbo"])
