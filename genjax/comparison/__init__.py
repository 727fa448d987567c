"""Comparison of runs of any family by one protocol: a table as data, cells as files, floors, and reports.

``runs`` groups run folders into entries, and ``floors`` fits simple models of the same data. ``measure`` fills a cell
file for each member of an entry and each measurement, and ``table`` has the numbers of all of them. ``report`` and
``page`` write the table.
"""
