"""Which function a job means, and whether this process may call it.

`registry` knows what this process declared; `resolution` is the one place that decides what a name may reach;
`own_modules` says which modules belong to the application, whose functions its jobs may name.
"""
