# One image for every process: `roamlog serve | prepare | ingest | streams | api | doctor`.
FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/roamlog
COPY requirements.lock .
RUN /opt/roamlog/bin/python -m pip install --quiet --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY streams streams
COPY ingest ingest
COPY api api
COPY roamlog roamlog
RUN /opt/roamlog/bin/python -m pip install --quiet --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/roamlog --create-home roamlog
COPY --from=build /opt/roamlog /opt/roamlog
ENV PATH=/opt/roamlog/bin:$PATH PYTHONUNBUFFERED=1 ROAMLOG_DATA=/var/lib/roamlog/data
USER roamlog
WORKDIR /var/lib/roamlog
EXPOSE 8080
ENTRYPOINT ["roamlog"]
CMD ["serve", "--host", "0.0.0.0"]
