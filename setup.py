"""A shim for tools that build an egg (scrapyd-deploy): everything stands in pyproject.toml."""

from setuptools import setup

setup()
