"""The mistakes that a lesson's checks know, for tests that write each of them out."""

from unittest.mock import patch


def listed_mistakes(module, *checks):
    """What the checks of one module of `vae_utils.checks` say of single mistakes, in the order of their lists."""
    listed = []
    with patch.object(module, "verdict_on", lambda answer, reference, cases, mistakes, **_: listed.extend(mistakes)):
        for check in checks:
            check(None)
    return [mistake.text for mistake in listed if not mistake.text.startswith("Two things at once")]


def unnamed(texts, phrases):
    """Those of `texts` that hold none of the phrases."""
    return [text for text in texts if not any(phrase in text for phrase in phrases)]
