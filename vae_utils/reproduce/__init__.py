"""Make again what stands in `assets/`: `python -m vae_utils.reproduce NAME`.

Every command trains or measures with fixed seeds, prints each number with its protocol, and writes a
provenance record (`assets/NAME.json`: command, settings, seed, versions, processor, seconds, date, results)
beside what it makes. Choices between settings are made by the `select-…` commands, on training images held
out from training; the test set decides nothing.
"""
