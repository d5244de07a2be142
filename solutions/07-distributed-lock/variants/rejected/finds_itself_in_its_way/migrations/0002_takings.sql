-- Every taking of a day. Numbers are above every fence that was made from microseconds.
CREATE TABLE report_takings (
    fence bigint GENERATED ALWAYS AS IDENTITY (START WITH 4000000000000000) PRIMARY KEY,
    day date NOT NULL,
    replica text NOT NULL,
    run text NOT NULL,
    until timestamptz NOT NULL,
    ended boolean NOT NULL DEFAULT false
);

CREATE UNIQUE INDEX report_takings_open ON report_takings (day) WHERE NOT ended;

ALTER TABLE report_days ADD COLUMN fence bigint;

-- Takes a day, or tells who has it (name and run), or that it is done.
CREATE FUNCTION report_take(
    which date, who text, this_run text, ttl_ms bigint,
    OUT taken bigint, OUT holder text, OUT holder_run text, OUT done boolean
) LANGUAGE plpgsql AS $$
BEGIN
    -- One after another, so that numbers rise with takings.
    PERFORM pg_advisory_xact_lock(7407, which - date '2000-01-01');
    done := EXISTS (SELECT FROM report_days d WHERE d.day = which AND d.status = 'done');
    IF done THEN
        RETURN;
    END IF;
    SELECT t.replica, t.run INTO holder, holder_run
    FROM report_takings t
    WHERE t.day = which AND NOT t.ended AND t.until > clock_timestamp();
    IF FOUND THEN
        RETURN;
    END IF;
    UPDATE report_takings t SET ended = true WHERE t.day = which AND NOT t.ended;
    INSERT INTO report_takings (day, replica, run, until)
    VALUES (which, who, this_run, clock_timestamp() + ttl_ms * interval '1 millisecond')
    RETURNING fence INTO taken;
    INSERT INTO report_days (day, status, replica, started_at) VALUES (which, 'running', who, now())
    ON CONFLICT (day) DO UPDATE SET status = 'running', replica = who, started_at = now();
END $$;

-- The report of this taking is published. False: the day was taken by another one since. May be repeated.
CREATE FUNCTION report_finish(which date, mine bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7407, which - date '2000-01-01');
    UPDATE report_takings t SET ended = true WHERE t.fence = mine AND NOT t.ended;
    IF FOUND THEN
        UPDATE report_days d SET status = 'done', finished_at = now(), fence = mine WHERE d.day = which;
        RETURN true;
    END IF;
    RETURN EXISTS (SELECT FROM report_days d WHERE d.day = which AND d.status = 'done' AND d.fence = mine);
END $$;

-- Whether the day is free now. May be repeated.
CREATE FUNCTION report_leave(which date, mine bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7407, which - date '2000-01-01');
    UPDATE report_takings t SET ended = true WHERE t.fence = mine AND NOT t.ended;
    IF FOUND THEN
        UPDATE report_days d SET status = 'pending' WHERE d.day = which AND d.status = 'running';
    END IF;
    RETURN NOT EXISTS (SELECT FROM report_takings t WHERE t.day = which AND NOT t.ended)
        AND NOT EXISTS (SELECT FROM report_days d WHERE d.day = which AND d.status = 'done');
END $$;
