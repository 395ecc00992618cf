"""Runs -> numbers -> one HTML page that opens anywhere. Data flows one way: runs, gather, sections, page."""
