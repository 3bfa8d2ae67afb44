# The Python of the worker's image, with what the test suites need.
ARG PYTHON_TAG=3.13-slim
FROM python:${PYTHON_TAG}
WORKDIR /pod-broadcast
COPY requirements-dev.txt ./
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes --requirement requirements-dev.txt
USER 65532:65532
ENV PATH=/venv/bin:${PATH}
