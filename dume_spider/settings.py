"""Settings of the project: each with its reason.

Every setting of the project's own can be given as ``-s NAME=VALUE``, or as an environment
variable of the same name.
"""

from __future__ import annotations

import os

from scrapy.settings import default_settings


def _env(name: str, default: str) -> str:
    return os.environ.get(name, default)


def _without(base: dict[str, int], *unused: str) -> dict[str, int]:
    return {path: order for path, order in base.items() if path not in unused}


BOT_NAME = "dume_spider"
SPIDER_MODULES = ["dume_spider.spiders"]
NEWSPIDER_MODULE = "dume_spider.spiders"
COMMANDS_MODULE = "dume_spider.commands"

# Who we are: an honest name. Whoever runs it regularly adds a contact of theirs.
USER_AGENT = _env("USER_AGENT", "dume_spider/0.1 (open data of French public contracts)")

# The spiders speak to APIs, not to pages: see docs/decisions.md, "robots.txt".
ROBOTSTXT_OBEY = False

# Polite by default: the DUME service publishes no limits; the peers that use it wait 0.1 s
# between calls and send one at a time. Without a delay Scrapy 2.19 does not look at
# CONCURRENT_REQUESTS_PER_DOMAIN where several requests wait.
CONCURRENT_REQUESTS = 8  # default 16; what a whole run may have in flight
CONCURRENT_REQUESTS_PER_DOMAIN = 1  # default 8
DOWNLOAD_DELAY = 0.1  # default 0
DOWNLOAD_TIMEOUT = 60  # default 180; an answer is 100 rows at most
# A full answer of 100 rows is some 300 kB: what is larger than 16 MB is no answer.
DOWNLOAD_MAXSIZE = 16 * 1024 * 1024  # default 1 GB
DOWNLOAD_WARNSIZE = 4 * 1024 * 1024  # default 32 MB

# Waits grow from 0.5 s: six tries are some 15 s. A run retries RETRY_CEILING times at most.
DOWNLOADER_MIDDLEWARES = {
    "dume_spider.middlewares.BackoffRetryMiddleware": 550,
}
RETRY_TIMES = 5  # default 2
RETRY_CEILING = 2000
# What failed goes first: a service that is down is noticed soon, not after a try of everything.
RETRY_PRIORITY_ADJUST = 1  # default -1
RETRY_GIVE_UP_LOG_LEVEL = "DEBUG"  # default ERROR; the spider says what it could not get

# Left out of what Scrapy sets up by itself, and not only switched off: Scrapy imports whatever
# these settings name, which was a fifth of the time that a run takes to start.
DOWNLOADER_MIDDLEWARES_BASE = _without(
    default_settings.DOWNLOADER_MIDDLEWARES_BASE,
    "scrapy.downloadermiddlewares.retry.RetryMiddleware",  # ours does more
    # An API answers at the address it is asked at; a redirection is an answer we do not know.
    "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware",
    "scrapy.downloadermiddlewares.redirect.MetaRefreshMiddleware",
    "scrapy.downloadermiddlewares.redirect.RedirectMiddleware",
    # A session would only blur who asks.
    "scrapy.downloadermiddlewares.cookies.CookiesMiddleware",
)
SPIDER_MIDDLEWARES_BASE = _without(
    default_settings.SPIDER_MIDDLEWARES_BASE,
    # It drops a long address without a word, such as one with all departments in it.
    "scrapy.spidermiddlewares.urllength.UrlLengthMiddleware",
    # An API's answers lead nowhere, and no page led to them.
    "scrapy.spidermiddlewares.depth.DepthMiddleware",
    "scrapy.spidermiddlewares.referer.RefererMiddleware",
)
EXTENSIONS_BASE = _without(
    default_settings.EXTENSIONS_BASE,
    # It counts pages; what matters is said by Progress.
    "scrapy.extensions.logstats.LogStats",
    # Both listen on a port and run any code that is sent to it.
    "scrapy.extensions.telnet.TelnetConsole",
    "scrapy.extensions.remote_control.RemoteControl",
)

# It looks into the source of the callbacks, for each answer again.
WARN_ON_GENERATOR_RETURN_VALUE = False  # default True

LOG_LEVEL = "INFO"  # default DEBUG
LOG_FORMATTER = "dume_spider.logformatter.QuietLogFormatter"

FEED_EXPORT_ENCODING = "utf-8"  # default: \uXXXX for every accent
# Tables have a line per award or titulaire; Scrapy's own CSV would put whole objects in cells.
FEED_EXPORTERS = {
    "csv": "dume_spider.exporters.CsvFeedExporter",
    "xlsx": "dume_spider.exporters.XlsxFeedExporter",
}

ITEM_PIPELINES = {
    "dume_spider.pipelines.validation.ValidationPipeline": 300,
    "dume_spider.pipelines.deduplication.DeduplicationPipeline": 400,
    "dume_spider.pipelines.decp_files.DecpFilesPipeline": 500,
}
# What is left to ask stands in the ledger, with or without JOBDIR.
SCHEDULER = "dume_spider.scheduler.MemoryScheduler"

EXTENSIONS = {
    "dume_spider.extensions.run_summary.RunSummary": 500,
    "dume_spider.extensions.keeper.Keeper": 510,
    # After run_summary: what a run has found is published when its books are closed.
    "dume_spider.extensions.publication.PublishAfter": 520,
    "dume_spider.extensions.progress.Progress": 530,
    "dume_spider.extensions.feeds.Feeds": 540,
}


# What the project adds. Meaning of each: docs/reference.md, "Settings".
DUME_API_URL = _env("DUME_API_URL", "https://dume.chorus-pro.gouv.fr/dumes/donneesEssentielles")
# The identifiers that the public web site sends; a platform puts its own.
DUME_PLATFORM_ID = _env("DUME_PLATFORM_ID", "12345678901011")
DUME_PLATFORM_TECHNICAL_ID = _env("DUME_PLATFORM_TECHNICAL_ID", "AAA001")
DUME_REQUESTER_ID = _env("DUME_REQUESTER_ID", "12345698765445")
DUME_REQUESTER_NAME = _env("DUME_REQUESTER_NAME", "AIFE")
DUME_FIELD_MAP = _env("DUME_FIELD_MAP", "")
BOAMP_API_URL = _env("BOAMP_API_URL", "https://boamp-datadila.opendatasoft.com/api/explore/v2.1")
DECP_RULES = _env("DECP_RULES", "{}")
DECP_STRUCTURE = _env("DECP_STRUCTURE", "acheteur")
DECP_PLATFORM_SIRET = _env("DECP_PLATFORM_SIRET", "")
DECP_FORMATS = _env("DECP_FORMATS", "json")
DECP_FILES_URI = _env("DECP_FILES_URI", "data/decp")
DECP_STORE_URL = _env("DECP_STORE_URL", "sqlite:///data/store.sqlite")
DECP_RUNS_DIR = _env("DECP_RUNS_DIR", "data/runs")
# The key stands nowhere here: DATAGOUV_API_KEY is read from the environment when it is needed.
DATAGOUV_API_URL = _env("DATAGOUV_API_URL", "https://www.data.gouv.fr/api/1")
DATAGOUV_LICENSE = _env("DATAGOUV_LICENSE", "fr-lo")
DATAGOUV_FREQUENCY = _env("DATAGOUV_FREQUENCY", "daily")
PUBLISH_DATASET = _env("PUBLISH_DATASET", "")
PROGRESS = _env("PROGRESS", "on")
