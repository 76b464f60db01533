"""Make again what stands in `assets/`: `python -m vae_utils.reproduce NAME`.

Every command trains or measures with fixed seeds, prints each number with its protocol, and writes a
provenance record (`assets/NAME.json`: command, settings, seed, versions, processor, seconds, date, results)
beside what it makes. Choices between settings are made by the `select-…` commands, on training images held
out from training; the test set decides nothing.

A command is one file with its name (`fig4.py`) that holds a `COMMAND` (`common.Command`); nothing else lists it. Three
are families: `stored_models.py`, `select.py` and `likelihood.py`. Shared: `common` (recipes, full data, records),
`curves` (the paper's way of training, and the runs of a figure), `bands` (seeds beside the paper), `small_net`,
`scoreboard` (what `table` prints), `precision`, `provenance` and `resuming`.
"""
