"""What this machine can do: fires per second and lateness, measured on a real replica.

    figure      a measured value with its goal; medians and percentiles of samples
    servers     embedded servers, or configured ones; each measure has a schema of its own there
    stage       one measure's schema: its jobs, its leader process, what Postgres says about both
    replica     a `scheduler run` process, with its CPU time and its memory
    callbacks   what the leader calls: nothing, or a note of how late it was called
    processes   CPU time and memory, as the kernel counts them
    throughput  jobs due at once, until every outcome is committed
    lateness    jobs spread evenly over each second
    report      figures for people, `document` for programs

`scheduler bench` takes the two measures above. The project's own `make bench` has more, and shares all of this.
"""
