# The API, and Flower from the same image. No torch in it. Build from the checkout: docker build -f deploy/api.Dockerfile .
FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/leym
RUN python -m venv /opt/venv
# The dependencies first: this layer stays while only our own code changes.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY leym/__init__.py leym/
RUN /opt/venv/bin/pip install '.[service,tables,video,postgres]' --constraint constraints.txt && /opt/venv/bin/pip uninstall --yes leym
COPY leym leym
COPY app app
COPY laws laws
RUN /opt/venv/bin/pip install --no-deps --editable . \
    && /opt/venv/bin/python -m compileall -q leym app \
    && /opt/venv/bin/python -c "import importlib.util as u; import app.wsgi; assert u.find_spec('torch') is None"

FROM python:3.12-slim
RUN useradd --system --uid 10001 --user-group --create-home leym \
    && install --directory --owner=leym --group=leym /var/lib/leym
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/leym /srv/leym
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 LEYM_DATA=/var/lib/leym
WORKDIR /srv/leym
USER leym
VOLUME /var/lib/leym
EXPOSE 8000
CMD ["gunicorn", "--config=python:app.gunicorn", "--bind=0.0.0.0:8000", "app.wsgi:app"]
