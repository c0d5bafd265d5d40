# A worker: one process, one device. Build from the checkout: docker build -f deploy/worker.Dockerfile .
FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/leym
RUN python -m venv /opt/venv
# The dependencies first: this layer stays while only our own code changes.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY leym/__init__.py leym/
RUN /opt/venv/bin/pip install '.[service,worker,postgres]' --constraint constraints.txt && /opt/venv/bin/pip uninstall --yes leym
COPY leym leym
COPY workers workers
COPY laws laws
RUN /opt/venv/bin/pip install --no-deps --editable . && /opt/venv/bin/python -m compileall -q leym workers

FROM python:3.12-slim
# torch.compile calls a C and a C++ compiler at run time.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --create-home leym \
    && install --directory --owner=leym --group=leym /var/lib/leym /var/cache/leym
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/leym /srv/leym
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 LEYM_DATA=/var/lib/leym \
    TORCHINDUCTOR_CACHE_DIR=/var/cache/leym/inductor TRITON_CACHE_DIR=/var/cache/leym/triton
WORKDIR /srv/leym
USER leym
VOLUME /var/lib/leym /var/cache/leym
STOPSIGNAL SIGTERM
CMD ["celery", "--app=workers.celery_app", "worker", "--hostname=gpu0@%h", "--without-mingle", "--without-gossip", "--loglevel=INFO"]
