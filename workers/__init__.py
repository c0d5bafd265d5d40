"""Celery workers, their supervisor and maintenance. A worker takes tickets and writes frames; it owns one device.

`job_runner` is the heart of a worker and describes the way of a job through it.
"""
