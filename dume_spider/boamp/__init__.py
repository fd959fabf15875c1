"""The BOAMP: its API, its notices and the awards that they state. No Scrapy here."""
