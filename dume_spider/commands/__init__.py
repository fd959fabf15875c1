"""The commands of the project: `scrapy demo`, `scrapy sandbox`, …"""
