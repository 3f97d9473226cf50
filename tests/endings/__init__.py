"""However a callback ends, it ends: every ending × every way to write it × every place that calls it, as one product.

    catalogue   the endings, as functions at the top level of a module: what a service would have
    product     the cases, what each must come to, and the choice of them that a short run makes
    app         the module that a replica is started with: a job for each case
    test_…      the product on real servers, killers with a supervisor, and `ManualScheduler`

`python -m tests.endings` writes docs/endings.md from what the tests hold each case to.
"""
