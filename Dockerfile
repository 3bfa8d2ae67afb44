ARG PYTHON_TAG=3.13-slim

FROM python:${PYTHON_TAG} AS build
COPY requirements.txt .
RUN python -m pip install --no-cache-dir --no-deps --require-hashes --target /opt/pod-broadcast -r requirements.txt
COPY worker /opt/pod-broadcast/worker
RUN python -m compileall -q /opt/pod-broadcast

FROM python:${PYTHON_TAG}
COPY --from=build /opt/pod-broadcast /opt/pod-broadcast
WORKDIR /opt/pod-broadcast
USER 65532:65532
ENTRYPOINT ["python", "-m", "worker"]
