"""The reader's: pieces that answer the hand, in JupyterLab and on pages, and networks as programs for the page."""
