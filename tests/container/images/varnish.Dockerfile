# Varnish from Debian's packages, in front of the origin of nginx.conf.
ARG NGINX
FROM ${NGINX}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends varnish \
    && rm -rf /var/lib/apt/lists/*
COPY varnish.vcl /etc/varnish/default.vcl
ENTRYPOINT ["sh", "-c", "nginx & exec varnishd -F -n /tmp/varnish -a :8082 -f /etc/varnish/default.vcl"]
