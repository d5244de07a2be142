CREATE OR REPLACE FUNCTION active_users(of_region text, after_moment timestamptz, after_id bigint, at_most bigint)
RETURNS SETOF users LANGUAGE sql STABLE AS $$
    SELECT * FROM users
    WHERE region = of_region AND status = 'active'
      AND (created_at, id) < (coalesce(after_moment, 'infinity'), coalesce(after_id, 0))
    ORDER BY created_at DESC, id DESC
    LIMIT at_most
$$;

CREATE OR REPLACE FUNCTION active_users_counted(of_region text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT count(*) FROM users WHERE region = of_region AND status = 'active'
$$;

CREATE OR REPLACE FUNCTION user_by_email(address text) RETURNS SETOF users LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT * FROM users WHERE lower(email) = lower(address) LIMIT 1;
END
$$;
