"""Puts what several files say on one UTC line.

A log's clock may name its zone, name none (local time), or count seconds since boot. ``marks``
finds the events that two files both tell of, ``match`` what they say of the difference of two
clocks, ``align`` decides for each file, ``recorded`` asks the recorder's data, ``tell`` says what
was found. Nothing is guessed: where nothing ties a file to the others, its times are taken away.
"""
