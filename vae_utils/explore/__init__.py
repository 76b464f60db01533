"""Widgets for the reader, in JupyterLab and on web pages, and networks as programs for the page."""
