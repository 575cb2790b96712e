# Two images. `serve`: one judged model behind Open Inference; stage `image` makes its context.
# `runner`: the command line, for CI systems without a Python of their own; context: this repository.
#   docker build --target runner --tag ci-mlops .
ARG BASE=python:3.11-slim-bookworm

# The project's locked environment, and beside it what the server needs. The project's comes first
# on the path: the model gets the versions that it was judged with. Bytecode is checked by nothing, so
# that it holds no time; a library's file that this Python cannot compile stays as it is.
FROM ${BASE} AS environment
ARG PIP_INDEX_URL=
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
COPY build/ /build/
RUN set -eu; \
    [ ! -s /build/ca.pem ] || export PIP_CERT=/build/ca.pem SSL_CERT_FILE=/build/ca.pem; \
    [ -n "$PIP_INDEX_URL" ] || unset PIP_INDEX_URL; \
    [ -n "$PIP_EXTRA_INDEX_URL" ] || unset PIP_EXTRA_INDEX_URL; \
    python3 -m venv /opt/project; \
    /opt/project/bin/pip install --no-compile -r /build/requirements.txt; \
    /opt/project/bin/pip install --no-compile --require-hashes --target /opt/server -r /build/serving.txt; \
    site=$(/opt/project/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
    echo /opt/server > "$site/ci-mlops-serving.pth"; \
    /opt/project/bin/pip uninstall --quiet --yes setuptools pip; \
    find /opt -name __pycache__ -prune -exec rm -rf {} +; \
    python3 -m compileall -q -j 1 --invalidation-mode unchecked-hash /opt || true

FROM ${BASE} AS serve
COPY --from=environment /opt/ /opt/
COPY server/ /opt/server/
COPY bundle/ /srv/bundle/
ENV PATH=/opt/project/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMEXPR_NUM_THREADS=1
WORKDIR /srv/bundle/code
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/project/bin/python", "-m", "ci_mlops.serving.container", "/srv/bundle"]

FROM ${BASE} AS runner
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY requirements/ /opt/ci-mlops/requirements/
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir --require-hashes \
    -r /opt/ci-mlops/requirements/runtime.txt
COPY policies/ /opt/ci-mlops/policies/
COPY workflows/ /opt/ci-mlops/workflows/
COPY Dockerfile /opt/ci-mlops/Dockerfile
COPY ci_mlops/ /opt/ci-mlops/ci_mlops/
ENV PYTHONPATH=/opt/ci-mlops PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /repository
USER 65532:65532
ENTRYPOINT ["/opt/venv/bin/python", "-m", "ci_mlops"]
