# nginx with the module that purges its cache, from Debian's packages.
FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnginx-mod-http-cache-purge nginx \
    && rm -rf /var/lib/apt/lists/*
COPY nginx.conf /etc/nginx/nginx.conf
STOPSIGNAL SIGQUIT
ENTRYPOINT ["nginx"]
