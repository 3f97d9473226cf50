"""The ports, and whoever answers them: the storage, the ledger of `scheduler_core.testing`, the simulated servers.

table     port by port who implements it, where its behaviours are asked, and what is not implemented, with the reason
test_*    the behaviours, each asked of every implementation in the same words
"""
