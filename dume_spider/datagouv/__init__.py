"""data.gouv.fr: how DECP files are to appear on it, and its API (udata). No Scrapy here."""
