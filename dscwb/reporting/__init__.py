"""Reports: one standalone HTML page with everything a study knows.

`report` computes what stands on the page, `report.html` is the page's Jinja2 template, and `recipe`
writes the Python that makes the study again.
"""
