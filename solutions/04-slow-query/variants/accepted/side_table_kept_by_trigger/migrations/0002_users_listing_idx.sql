-- Who is active, and nobody else. The triggers need the table to themselves for a moment; what they add and remove is a row
-- of its own for each user, so no writer waits for another.
SET LOCAL lock_timeout = '300ms';
LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE active_users (
    id         bigint      PRIMARY KEY,
    region     text        NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE FUNCTION keep_active_users() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.status = 'active' THEN
        DELETE FROM active_users WHERE id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.status = 'active' THEN
        INSERT INTO active_users (id, region, created_at) VALUES (NEW.id, NEW.region, NEW.created_at);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_active_users AFTER INSERT OR DELETE OR UPDATE OF id, region, status, created_at ON users
    FOR EACH ROW EXECUTE FUNCTION keep_active_users();

INSERT INTO active_users (id, region, created_at) SELECT id, region, created_at FROM users WHERE status = 'active';
CREATE INDEX active_users_listing_idx ON active_users (region, created_at DESC, id DESC);
