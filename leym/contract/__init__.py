"""What clients, the API and workers agree on: specs, records, problems, ids and the catalogue of fields."""
