"""A run: what it is (`run`), how a call may end (`ending`), when it may begin (`begin`), what it waits for (`overlap`).

`ticket` stands for an attempt that is made elsewhere; `run_filter` says which runs are meant, `words` what became of
one, `export_lines` how they are written out.
"""
