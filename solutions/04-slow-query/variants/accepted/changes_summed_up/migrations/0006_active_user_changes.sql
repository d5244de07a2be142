-- Every change of a region's number of active users is a row of its own, so no writer waits for another; the count is their
-- sum. The trigger needs the table to itself for a moment.
SET LOCAL lock_timeout = '300ms';
LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE active_user_changes (region text NOT NULL, change bigint NOT NULL);
CREATE INDEX active_user_changes_idx ON active_user_changes (region) INCLUDE (change);

CREATE FUNCTION note_active_users() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.status = 'active' THEN
        INSERT INTO active_user_changes VALUES (OLD.region, -1);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.status = 'active' THEN
        INSERT INTO active_user_changes VALUES (NEW.region, 1);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER note_active_users AFTER INSERT OR DELETE OR UPDATE OF region, status ON users
    FOR EACH ROW EXECUTE FUNCTION note_active_users();

INSERT INTO active_user_changes SELECT region, count(*) FROM users WHERE status = 'active' GROUP BY region;
