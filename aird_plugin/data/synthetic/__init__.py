"""Drawn images of identities that do not exist, for the quickstart and the tests."""
