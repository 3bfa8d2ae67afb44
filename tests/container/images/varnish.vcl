vcl 4.1;

backend origin { .host = "127.0.0.1"; .port = "8081"; }

sub vcl_recv {
    if (req.method == "BAN") {
        ban("req.url ~ .");
        return (synth(200, "Banned"));
    }
    return (hash);
}

sub vcl_backend_response {
    set beresp.ttl = 1h;
}
