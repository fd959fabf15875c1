"""Records, rejected rows, runs and windows, kept between runs. No Scrapy here."""
