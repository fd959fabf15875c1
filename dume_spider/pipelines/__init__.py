"""The item pipelines, one responsibility each."""
