"""When memory runs short: from samples to alarms to the next rung of the ladder. Pure, so that it can be replayed."""
