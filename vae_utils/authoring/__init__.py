"""For those who write lessons and publish them: `python -m vae_utils.authoring COMMAND`.

    new         begin a lesson from the template; its rules are in notebooks/CONTRIBUTING.md
    execute     run notebooks and store their outputs

    learner     notebooks without outputs and solutions; hints and checks stay
    solutions   the exercises of a lesson with their answers, as a web page
    slides      a deck for a talk (reveal.js), made from the same cells
    pages       the whole lesson as a web page
    all         these four, which is what no command means too

    site        the website: all lessons as live pages, a front page, a search; its own package, `site`

The lessons in `notebooks/` are the only source; what is made goes to `handouts/`, which git ignores. Every page and
every deck is one file that asks for nothing from the network; of the website, the pages share what is large (`parts`).

`lesson` knows the parts of a lesson and its pace, `needs` which of its sections need which, `claims` what stands
behind the numbers in its prose, `folds` what waits until the reader asks. `copies` leaves parts of it out, `execution`
runs it, `exporter` and `slides` lay it out, and the commands are in `__main__`. Two tools for those who change the
widgets stand beside them: `browser` and `explorer_speed`.
"""
