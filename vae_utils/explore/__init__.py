"""What answers the reader's hand, in JupyterLab and on pages: widgets, and networks as programs for the page."""
