# docker build --tag pod-broadcast:0.1.0 .        (`make image` fills in the labels)

ARG PYTHON_TAG=3.13-slim

FROM python:${PYTHON_TAG} AS build
WORKDIR /build
COPY requirements.txt ./
RUN python -m pip install --no-cache-dir --no-compile --no-deps --require-hashes \
        --target /opt/pod-broadcast/lib --requirement requirements.txt
COPY worker /opt/pod-broadcast/lib/worker
# The official image has no bytecode for the standard library, and the container cannot write any. So
# running the worker once compiles the modules that it imports. Hashes instead of times in the
# bytecode, and one date for all files, make the layer the same in every build. The metadata and
# licences of the dependencies stay, for scanners of images.
RUN rm -r /opt/pod-broadcast/lib/*.dist-info/RECORD /opt/pod-broadcast/lib/bin \
    && export PYTHONPATH=/opt/pod-broadcast/lib PYTHONPYCACHEPREFIX=/opt/pod-broadcast/bytecode \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/pod-broadcast/lib \
    && python -m worker schema >schema.json \
    && python -c 'import worker.discovery.endpointslices' \
    && mkdir /image && mv /opt /image \
    && chmod -R u=rwX,go=rX /image \
    && find /image -exec touch --no-dereference --date=@0 {} +

FROM python:${PYTHON_TAG}
# Nothing is installed after this, so pip is removed.
RUN pip="$(python -c 'import pip; print(*pip.__path__)')" \
    && ensurepip="$(python -c 'import ensurepip; print(*ensurepip.__path__)')" \
    && rm -rf "$ensurepip" "$pip" "$pip"-*.dist-info /usr/bin/pip* /usr/local/bin/pip*
COPY --from=build /image /
ENV PYTHONPATH=/opt/pod-broadcast/lib \
    PYTHONPYCACHEPREFIX=/opt/pod-broadcast/bytecode \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="pod-broadcast" \
      org.opencontainers.image.description="One HTTP request to every pod behind a headless Service, and proof that it arrived" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
ENTRYPOINT ["python", "-m", "worker"]
