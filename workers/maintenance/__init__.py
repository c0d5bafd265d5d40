"""Maintenance of a service's data: `leym doctor` (doctor, checkup), `leym backup`, `leym gc` (collector)."""
