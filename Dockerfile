# One image for nodes (`broadcaster serve`, the default command) and workers (`python -m broadcaster_petstore …`).
#
# It contains only the locked runtime dependencies and the two packages: no pip, no compiler, no tests.

ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
# Settings of pip, for a build behind a mirror. The final image does not have them.
ARG PIP_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv --without-pip /opt/broadcaster && python -m venv /opt/build
WORKDIR /src
# Copied before the sources, so that a change of the sources does not fetch the dependencies again.
COPY requirements-build.lock requirements-runtime.lock ./
RUN /opt/build/bin/python -m pip install --require-hashes --requirement requirements-build.lock && \
    /opt/build/bin/python -m pip --python /opt/broadcaster/bin/python install \
    --require-hashes --requirement requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY broadcaster broadcaster
COPY workers workers
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . && \
    /opt/build/bin/python -m pip --python /opt/broadcaster/bin/python install --no-deps dist/*.whl

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/broadcaster /opt/broadcaster
ENV PATH=/opt/broadcaster/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    BROADCASTER_HOST=0.0.0.0 BROADCASTER_PORT=8000
# A number, because Kubernetes can't tell from a name that the user is not root.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
# The image has no curl. If the node does not answer, Python raises, which gives status 1 too.
HEALTHCHECK --interval=5s --timeout=4s --start-period=10s --retries=3 CMD ["python", "-ISc", "\
import http.client, os, sys; \
node = http.client.HTTPConnection('127.0.0.1', int(os.environ['BROADCASTER_PORT']), timeout=3); \
node.request('GET', '/readyz'); \
sys.exit(node.getresponse().status != 200)"]
CMD ["broadcaster", "serve"]
