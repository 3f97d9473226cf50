"""What a person asks about a scheduler, apart from how it is shown: the command line, the API and the pages ask here.

`doctor` says whether all is well, `status` how it stands, `explain` why a job did or did not run, `next_fires` when it
will; `alarms` and `clock` are those as people see them; `proposal` works out what a change would do before it is done;
`named_callbacks` holds a callback that somebody names against what may be called.
"""
