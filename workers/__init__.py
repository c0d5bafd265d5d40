"""The Celery side: tickets in, frames out. Each worker process owns one device."""
