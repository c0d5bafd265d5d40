"""Contract between clients, the API and workers: specs, records, problems, ids and the catalogue of fields."""
