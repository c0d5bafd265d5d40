"""Helpers, fixtures and data that tests share."""
