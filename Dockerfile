# Any spider and command: docker run dume_spider crawl dume -a date=2026-03-01
FROM python:3.11.14-slim-bookworm
WORKDIR /app
COPY requirements-deploy.txt ./
RUN pip install --no-cache-dir --no-compile -r requirements-deploy.txt
COPY scrapy.cfg ./
COPY dume_spider ./dume_spider
RUN mkdir data && chown 1000:1000 data
ENV HOME=/app/data PYTHONUNBUFFERED=1
USER 1000:1000
ENTRYPOINT ["scrapy"]
