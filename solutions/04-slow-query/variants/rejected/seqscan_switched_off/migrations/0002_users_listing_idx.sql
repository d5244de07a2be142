-- The planner picks a bad plan here: take the choice away from it, and give sorts more room.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET enable_seqscan = off', current_database());
    EXECUTE format('ALTER DATABASE %I SET work_mem = ''256MB''', current_database());
    EXECUTE format('ALTER DATABASE %I SET max_parallel_workers_per_gather = 8', current_database());
END
$$;
