"""Sections of findings in; Markdown, HTML, a terminal's text, figures and tables out."""
