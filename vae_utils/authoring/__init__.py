"""Hand-outs made from the lessons: `python -m vae_utils.authoring [KIND] [LESSON ...]`.

    learner     notebooks without outputs and solutions; hints and checks stay
    solutions   the exercises of a lesson with their answers, as a web page
    slides      a deck for a talk (reveal.js), made from the same cells
    pages       the whole lesson as a web page

The lessons in `notebooks/` are the only source; what is made goes to `handouts/`, which git ignores. Every
page and every deck is one file that asks for nothing from the network.

`lesson` knows the parts of a lesson, `copies` leaves parts of it out, `slides` lays it out, and the command is
in `__main__`.
"""
