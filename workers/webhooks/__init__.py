"""Calls of webhooks: signatures, the HTTP request, and the thread that makes deliveries and retries."""
