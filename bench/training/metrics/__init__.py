"""Metrics on request, one class a file; what each is called and shown as is in `bench.base.metrics`."""
