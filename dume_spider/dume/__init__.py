"""The DUME service: its requests, its answers and what its rows mean. No Scrapy here."""
