-- The directory as a nightly dump of production restores it: the type, the table and its indices, and no bookkeeping of
-- migrations. Every value is computed from the row's number alone, so two seeds of one size are equal.

CREATE TYPE user_status AS ENUM ('pending', 'active', 'suspended', 'closed');

CREATE TABLE users (
    id         bigserial,
    email      text        NOT NULL,
    region     text        NOT NULL,
    status     user_status NOT NULL DEFAULT 'pending',
    verified   boolean     NOT NULL DEFAULT false,
    bio        text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Every column takes bits of its own from one multiplicative hash: 3 % are active, 50 % verified, a fifth lives in each
-- region. `place` is a permutation of the row numbers (the factor is a prime that divides no size in use), so the order
-- of signing up has nothing to do with the order on disk; a hundredth came in bulk imports of 500 that share one moment.
-- No moment is a whole second: drivers that read timestamps as text differ there, which is not the lesson.
INSERT INTO users (id, email, region, status, verified, bio, created_at)
SELECT id,
       (ARRAY['ada', 'Grace', 'barbara', 'Edsger', 'tony', 'Leslie', 'frances', 'JOHN'])[1 + (hash & 7)]
           || (CASE WHEN hash & 8 = 0 THEN '.' ELSE '_' END) || id
           || (ARRAY['@example.com', '@Example.org'])[1 + (hash >> 4 & 1)],
       (ARRAY['africa', 'apac', 'eu', 'latam', 'us'])[1 + (hash >> 5 & 1023) % 5],
       CASE
           WHEN draw < 3 THEN user_status 'active'
           WHEN draw < 20 THEN user_status 'pending'
           WHEN draw < 45 THEN user_status 'suspended'
           ELSE user_status 'closed'
       END,
       hash >> 15 & 1 = 0,
       'Joined for the talks of group ' || to_hex(hash) || ', stayed to organise the ones on ' || to_hex(hash * 31)
           || '; ask me about maps, bread and old trains.',
       timestamptz '2023-03-01 00:00:00.000007+00'
           + (CASE WHEN place % 100 = 0 THEN place / 50000 * 50000 ELSE place END) * interval '61.00002 seconds'
FROM (
    SELECT id, hash, (hash >> 16 & 65535) % 100 AS draw, id * 611953 % :rows AS place
    FROM (
        SELECT id, (((id * 2654435761) # (id * 2654435761 >> 15)) & 4294967295) * 1540483477 >> 24 AS hash
        FROM generate_series(1, :rows::bigint) AS id
    ) AS hashed
) AS placed;

SELECT setval('users_id_seq', :rows);

ALTER TABLE users ADD PRIMARY KEY (id);
CREATE INDEX users_verified_idx ON users (verified);
CREATE INDEX users_active_idx ON users (region, created_at DESC) WHERE status = 'active';
