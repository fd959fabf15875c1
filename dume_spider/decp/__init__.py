"""The DECP format: regimes, schemas, repairs, file names and writers. No Scrapy here."""
