"""The website: `python -m vae_utils.authoring site` makes a folder that any host serves and that opens from a disk.

    build       all of it: what goes in, in which order, and the folder that replaces the old one
    sources     what the pages are made of: the lessons, README, the teacher's page, the scoreboard
    front       the first page: README's own words under a manifold that is alive
    pages       a notebook or Markdown as an article of the site, with its headings and its links
    search      what the search knows of each page

A page is an article, made by the lesson exporter as a single page is (`article.html.j2`), in a frame (`frame.html.j2`).
`site.css` says how it looks and `site.js` does the rest: the search, the theme, links to copy. What is large lies in
`shared/`, once for all pages (`authoring.parts`).
"""
