"""Compares runs in one self-contained HTML page. Data flows one way: runs, collect, sections, page."""
