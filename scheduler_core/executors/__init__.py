"""Executors: where callbacks are called when the leader does not call them itself.

`process` is a pool of processes beside the leader, for callbacks that keep a core busy; `pool_worker` is what runs in
one of them. `dask` gives tickets to a Dask cluster; `dask_worker` is what a Dask worker does with one. Others plug in
under the entry point group `scheduler_core.executors`. What the workers at the other end do is always the same:
`scheduler_core.engine.remote.worker`.
"""
