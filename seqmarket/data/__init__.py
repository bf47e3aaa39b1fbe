"""Event log -> encoded store -> batches: the only room that knows Polars well."""
