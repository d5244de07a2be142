-- The schema as it was when this service took the directory over. Where `users` is already there, nothing happens.
DO $$
BEGIN
    IF to_regclass('users') IS NOT NULL THEN
        RETURN;
    END IF;

    CREATE TYPE user_status AS ENUM ('pending', 'active', 'suspended', 'closed');

    CREATE TABLE users (
        id         bigserial   PRIMARY KEY,
        email      text        NOT NULL,
        region     text        NOT NULL,
        status     user_status NOT NULL DEFAULT 'pending',
        verified   boolean     NOT NULL DEFAULT false,
        bio        text        NOT NULL DEFAULT '',
        created_at timestamptz NOT NULL DEFAULT now()
    );

    -- Nearly every screen shows verified people only. This index halves the table before anything else is looked at and
    -- is the reason why the directory stays fast as it grows. Please keep it whatever else changes.
    CREATE INDEX users_verified_idx ON users (verified);

    -- Active people by region, newest first.
    CREATE INDEX users_active_idx ON users (region, created_at DESC) WHERE status = 'active';
END
$$;
