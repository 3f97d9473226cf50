"""Jobs from a file: `jobs.toml`, read (`reading`), written (`writing`), compared with what is stored (`difference`)
and applied (`applying`). docs/jobs-file.md shows the format.

A file holds one table per job, `[jobs.ID]`, because TOML then refuses an id that stands twice, with its line.
"""
