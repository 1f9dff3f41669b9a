# syntax=docker/dockerfile:1
# One image for every process of Errata; EXTRAS says which of them it can run (see pyproject.toml).

FROM python:3.11-slim-bookworm AS build
ARG EXTRAS=worker,dashboard
WORKDIR /build
RUN python -m venv /opt/errata
ENV PIP_CACHE_DIR=/var/cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY errata errata
COPY quality quality
COPY storage storage
COPY streams streams
COPY labeling labeling
COPY retrain retrain
COPY dashboard dashboard
COPY migrations migrations
COPY examples examples
# The lock decides the versions, the extras which of them are needed: a worker has no use for PyTorch.
RUN --mount=type=cache,target=/var/cache/pip \
    /opt/errata/bin/pip install --constraint requirements.lock ".[${EXTRAS}]"

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /srv/errata --create-home errata \
    && install --directory --owner errata /artifacts /erasures
COPY --from=build /opt/errata /opt/errata
ENV PATH=/opt/errata/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /srv/errata
USER errata
ENTRYPOINT ["errata"]
CMD ["--help"]
