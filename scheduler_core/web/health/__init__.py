"""For machines that watch: does it live, is it ready, how does it do?

`probes` answers /livez and /readyz, which hold no secret and ask no server for a replica's sake. `metrics` answers
/metrics: `replica_families` are what this process counts, `database_families` what Postgres says of the whole, read by
the `observer` now and then. `metrics.router` joins the application, where /metrics wants a viewer; its `metrics_app` is
served alone on `metrics_port`, to whoever reaches that port.
"""
