-- How many users of a region are active, kept by a trigger, which needs the table to itself for a moment.
SET LOCAL lock_timeout = '300ms';
LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE active_user_counts (region text PRIMARY KEY, users bigint NOT NULL);

CREATE FUNCTION count_active_users() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.status = 'active' THEN
        UPDATE active_user_counts SET users = users - 1 WHERE region = OLD.region;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.status = 'active' THEN
        INSERT INTO active_user_counts VALUES (NEW.region, 1)
            ON CONFLICT (region) DO UPDATE SET users = active_user_counts.users + 1;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER count_active_users AFTER INSERT OR DELETE OR UPDATE OF region, status ON users
    FOR EACH ROW EXECUTE FUNCTION count_active_users();

INSERT INTO active_user_counts SELECT region, count(*) FROM users WHERE status = 'active' GROUP BY region;
