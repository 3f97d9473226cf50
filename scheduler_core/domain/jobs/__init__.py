"""A job: what it is (`job`), what each field may be (`fields`, `checks`), its policies (`job_policies`, `policies`).

`callback` names the function, `call_signature` and `parameters` hold arguments against it, `argument_types` and
`json_value` say how they are stored; `digest` tells two definitions apart, `status` how a job stands, `abilities` what
a replica can call; `backfill` makes up for a range.
"""
