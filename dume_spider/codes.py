"""The codes of warnings and errors, and the close reasons: what each means and what to do.

docs/logs.md shows them.

A code is stable: it stays that of its message when the words change, and is not given to
another one when the message goes. ``DECP-`` is common to all runs, the others are of a
service. Errors that a person can act on carry theirs as a class attribute
(:attr:`dume_spider.exceptions.DumeSpiderError.log_code`), the other messages in their text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

#: A code as it stands in a line of the log.
IN_TEXT = re.compile(r"\[((?:DECP|DUME|BOAMP|PUB)-[0-9]{2})\]")


class Code(NamedTuple):
    """What a message of this code means, and what a person does."""

    meaning: str
    action: str


_BUG = (
    "A bug in this project. Nothing is lost: what was not kept is asked again by the same "
    "command. Report the traceback that follows the line"
)

CODES = {
    "DECP-00": Code("Another error", "Do what the line says"),
    "DECP-01": Code(
        "An argument or a setting is unknown, has a bad value, or does not go with another one. "
        "Nothing was asked",
        "Correct what the line names; it says what is accepted. All arguments and settings: "
        "[reference.md](reference.md)",
    ),
    "DECP-02": Code(
        "The store cannot be opened, read or written: its disk, its server, its rights, or it "
        "is of a newer version",
        "Repair what the line names (free space, rights, `DECP_STORE_URL`), then run the same "
        "command again. What was saved before stays",
    ),
    "DECP-03": Code(
        "A file cannot be written: rights, a full disk, a bucket that is not there",
        "Repair what the line names, then run the same command again: the records are in the "
        "store, and go into files then; into a feed by the command that the line gives",
    ),
    "DECP-04": Code(
        "A storage does not answer, or it is not known whether a file has got its name",
        "Check what the line names (`DECP_FILES_URI`, the account), then run the same command "
        "again: it looks, and writes the file if it is not there. As a warning: an earlier "
        "place of files, which is not that of this run. If it is gone for good, `scrapy export` "
        "writes from the store what the named files were to hold",
    ),
    "DECP-05": Code(
        "Contracts came under a further reference: same number, buyer, first titulaire, amount "
        "and date as another one",
        "Nothing here: both are written, and the State keeps the one published last. Tell the "
        "buyer, if you are it",
    ),
    "DECP-06": Code("A pipeline failed on one record", _BUG),
    "DECP-07": Code("A callback of a spider failed on one answer", _BUG),
    "DECP-08": Code("Rows could not be saved, for a reason that is not the store's", _BUG),
    "DECP-09": Code(
        "Ten requests in a row got no answer, all retries used: the service is down, or is not "
        "reached from here. The run ended (`service_down`)",
        "Look whether the service answers (a browser, its status page), then the network, a "
        "proxy and the setting of its address. Later, run the same command: it carries on",
    ),
    "DECP-10": Code(
        "The run failed: its result is not to be trusted as it is. The line says why, and each "
        "error has had a line of its own before",
        "Look the earlier codes up, repair, then run the command at the end of the line",
    ),
    "DECP-11": Code(
        "The run is incomplete: what it has is right, but something is missing. "
        "`summary.json` names it (`failures`, `unproven`)",
        "Run the command at the end of the line. Days that stay unproven: "
        "[below](#it-stays-incomplete)",
    ),
    "DECP-12": Code(
        "A pipeline that is not of this project dropped a record (`DropItem`): its reference is "
        "not collected, and is asked for again",
        "Look why it drops it; without that pipeline, run the same command again",
    ),
    "DUME-01": Code(
        "The file of `DUME_FIELD_MAP` cannot be used",
        "Correct the file as the line says; its form is that of `dume_spider/dume/fields.toml`",
    ),
    "DUME-02": Code(
        "A search got no usable answer, all retries used",
        "The run goes on with the others; the same command asks for this one again. If it is "
        "always the same days, wait: the service fails on them",
    ),
    "DUME-03": Code(
        "The service sent keys that no field uses; the line counts the rows that have them",
        "See whether one of them holds a field that is missing in the records; if so, name it in "
        "a file and set `DUME_FIELD_MAP`, then `scrapy reprocess --all`",
    ),
    "DUME-04": Code(
        "Most rows lack a required field: it has probably another name in the service",
        "If the likeliest key of the line is it, put the line's last part in the file of "
        "`DUME_FIELD_MAP`, then `scrapy reprocess --rejected`",
    ),
    "DUME-05": Code(
        "A working day or more (with filters: five days or more) hold nothing at all, which is "
        "rarely true",
        "It may be a holiday. Check the filters (labels are exact), then search the same days on "
        "the service's web site",
    ),
    "DUME-06": Code(
        "The service refused the first request, so that asking on is of no use",
        "Check what the line quotes: an argument that the service does not take, or the "
        "identifiers of the platform (`DUME_PLATFORM_ID`, …)",
    ),
    "DUME-07": Code(
        "The service sent messages that are not errors; the most frequent are shown",
        "Read them. When one speaks of results that are partial, do not trust the run: run the "
        "same command again once it has gone",
    ),
    "DUME-08": Code(
        "The service cuts its answers at fewer rows than it is known to; the harvest noticed, and "
        "its searches were split until their answers were shorter than that",
        "Trust the status of the run, and report it: once the new number is known, fewer searches "
        "will do",
    ),
    "BOAMP-01": Code(
        "The data set lacks a column that is known; notices have null in its place",
        "Nothing, unless you need the column: the data set has changed, report it",
    ),
    "BOAMP-02": Code(
        "The data set has a column that is not known; its values are in `unread`",
        "Nothing is lost; report it, so that it gets a field",
    ),
    "BOAMP-03": Code(
        "A page of a search got no usable answer, all retries used",
        "The run goes on with the others; the same command asks for this one again",
    ),
    "BOAMP-04": Code(
        "The service sent notices that were not asked for; they are left out",
        "Nothing: what was asked for is counted. If there are many, report it",
    ),
    "BOAMP-05": Code(
        "The service refuses, or the address is not that of the BOAMP's API. The run ended "
        "(`refused`)",
        "Check `where` and `keyword` if the line quotes them, else `BOAMP_API_URL`",
    ),
    "BOAMP-06": Code(
        "robots.txt forbids the API and `ROBOTSTXT_OBEY` is on. The run ended (`robots`)",
        "Leave `ROBOTSTXT_OBEY` at its default if you may call the API "
        '([why](decisions.md), "robots.txt")',
    ),
    "BOAMP-07": Code(
        "The quota of the service is used up. The run ended (`quota`)",
        "Run the same command after the time that the line says; `detail=never` or `auto` takes "
        "far fewer requests",
    ),
    "BOAMP-08": Code(
        "A working day or more holds nothing that the filters let pass",
        "It may be a holiday. Check the filters, then search the same days on boamp.fr",
    ),
    "PUB-01": Code(
        "400: the portal does not take these values",
        "Correct the fields that the line names: an argument, a setting, or the file",
    ),
    "PUB-02": Code(
        "401: the portal does not accept the key",
        "Make a new key in the user's settings on the portal, and put it in the environment "
        "variable `DATAGOUV_API_KEY`",
    ),
    "PUB-03": Code(
        "403: the owner of the key may not do this",
        "Have an administrator of the organization make them an editor",
    ),
    "PUB-04": Code(
        "404: there is no such data set or resource, or the key's owner may not see it",
        "Check the id, and that `DATAGOUV_API_URL` is the portal that it is of",
    ),
    "PUB-05": Code(
        "409: a data set with a DOI cannot be deleted", "Leave it, or ask the portal's team"
    ),
    "PUB-06": Code(
        "410: the data set is deleted",
        "Bring it back: `scrapy crawl publish -a action=restore -a dataset=ID`",
    ),
    "PUB-07": Code(
        "413: the file is too large for the portal",
        "Publish fewer contracts per file (`DECP_STRUCTURE=acheteur`, fewer days per run)",
    ),
    "PUB-08": Code("415: the portal does not take such files", "Publish JSON or XML"),
    "PUB-09": Code(
        "423: the portal is read-only for now", "Run the same command again later; it carries on"
    ),
    "PUB-10": Code(
        "5xx, 408, 429: the portal failed, or has no time",
        "Run the same command again later; if it stays, report the `X-Sentry-ID` of the line to "
        "the portal",
    ),
    "PUB-11": Code(
        "There was no answer. What was asked may be done all the same",
        "Check the network and `DATAGOUV_API_URL`, then run the same command: it looks first",
    ),
    "PUB-12": Code(
        "The portal redirects; the key is not sent there",
        "Set `DATAGOUV_API_URL` to the address where the portal is now",
    ),
    "PUB-13": Code(
        "An answer that the portal's API is not known to give",
        "Check `DATAGOUV_API_URL`; if it is right, the portal has changed: report it",
    ),
    "PUB-14": Code(
        "What was read back from the portal is not what was sent",
        "Run the same command again; if it says the same, the portal has changed: report it",
    ),
    "PUB-15": Code(
        "A file is not published: its name, its SIRET or its content is not that of a DECP file "
        "of this data set",
        "Look with `scrapy verify FILE`; the other files are published",
    ),
    "PUB-16": Code(
        "A file that was to be published cannot be read", "Put it back, or leave it out of `files`"
    ),
    "PUB-17": Code(
        "The resource that was to be deleted is not there", "Nothing, if the id is right"
    ),
    "PUB-18": Code(
        "The data set has a file twice; the one named is kept up to date",
        "Remove the others (the line has their ids for `-a action=delete-resource`), but look at "
        "them first where the line says that their content is another one",
    ),
    "PUB-19": Code(
        "The portal did not answer before the harvest; it is asked again at its end",
        "Nothing now: the last lines say whether the files were published",
    ),
    "PUB-20": Code(
        "The harvest ended well, but its files are not published, or not all",
        "Look up the earlier codes of `PUB-`, repair, then run the command at the end of the "
        "line: it publishes what is owed",
    ),
    "PUB-21": Code(
        "The data set has, under the name of a file, another content, which was not published "
        "from this store: another machine counts the files of that SIRET and day too, or somebody "
        "has changed the file on the portal. `publish` replaces it, since it was given the file; "
        "what follows a harvest leaves it as it is",
        "If it is another machine's, rename one of the two to a number that is free, and publish "
        "it. For good: have all machines share one store, or give each its own SIRETs",
    ),
    "PUB-22": Code(
        "The data set is not as the guide, or the arguments, have it: the line says in what. It "
        "may be another one than is meant, or be hidden (`private`, `archived`)",
        "If it is the right one, run the command at the end of the line (`archived`: on the "
        "portal's own pages)",
    ),
}

#: Why a run ended: ``finish_reason`` of the summary, in brackets in the last lines of the log.
CLOSE_REASONS = {
    "finished": Code("All that was to be asked was asked", "See the status"),
    "shutdown": Code(
        "It was stopped: Ctrl-C, SIGTERM, `docker stop`, Scrapyd's `cancel.json`",
        "Run the same command again: it carries on",
    ),
    "service_down": Code("Ten requests in a row got no answer", "See `DECP-09`"),
    "refused": Code("The service refuses what it is asked", "See `DUME-06`, `BOAMP-05`"),
    "quota": Code("The quota of the BOAMP is used up", "See `BOAMP-07`"),
    "robots": Code("robots.txt forbids it, and you have it obeyed", "See `BOAMP-06`"),
    "ArgumentError": Code("A setting is bad", "See `DECP-01`"),
    "StoreError": Code("The store cannot be used", "See `DECP-02`"),
    "OutputError": Code("Files cannot be written", "See `DECP-03`"),
    "UncertainOutputError": Code("The storage of the files does not answer", "See `DECP-04`"),
    "KeyRefusedError": Code(
        "The portal refuses the key; with other names in its place (`MissingError`, "
        "`NotAllowedError`, `DeletedError`, …) it refuses for another reason. Nothing was asked of "
        "the other services",
        "See the `PUB-` code of the line before",
    ),
    "start_error": Code("A bug: the spider could not begin", "Report the traceback"),
    "closespider_itemcount": Code(
        "A limit that you set was reached (`CLOSESPIDER_ITEMCOUNT`; `closespider_timeout`, … "
        "likewise)",
        "Run the same command again: it carries on",
    ),
    "memusage_exceeded": Code(
        "The process used more memory than `MEMUSAGE_LIMIT_MB`, or the platform, allows",
        "Ask for fewer days, or give it more; the same command carries on",
    ),
}


def codes_table() -> str:
    """The table of codes in docs/logs.md."""
    return _table("code", CODES)


def close_reasons_table() -> str:
    """The table of close reasons in docs/logs.md."""
    return _table("close reason", CLOSE_REASONS)


def _table(title: str, rows: Mapping[str, Code]) -> str:
    lines = (f"| `{name}` | {each.meaning}. | {each.action}. |\n" for name, each in rows.items())
    return "".join([f"| {title} | what it means | what to do |\n| --- | --- | --- |\n", *lines])
