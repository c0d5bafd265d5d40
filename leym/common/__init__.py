"""Helpers without knowledge of the service: files, retries, JSON, tables, text."""
