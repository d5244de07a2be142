-- The ledger: one row per charge. Accounting reads it every night.
CREATE TABLE payments (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant     text        NOT NULL,
    order_id     text        NOT NULL,
    amount_cents bigint      NOT NULL,
    currency     text        NOT NULL,
    charge_id    text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX payments_order ON payments (merchant, order_id);

-- What merchants asked for under a key; nothing in it changes. The id is the key at the provider.
CREATE TABLE intents (
    id           uuid PRIMARY KEY,
    merchant     text   NOT NULL,
    key          text   NOT NULL,
    fingerprint  bytea  NOT NULL,
    order_id     text   NOT NULL,
    order_json   text   NOT NULL, -- the same as a JSON string, which has room for every character
    amount_cents bigint NOT NULL,
    currency     text   NOT NULL,
    UNIQUE (merchant, key)
);

-- Who worked on an intent, and until when at most. Only the last of them may write an outcome.
CREATE TABLE attempts (
    intent uuid        NOT NULL REFERENCES intents (id) ON DELETE CASCADE,
    number int         NOT NULL,
    until  timestamptz NOT NULL,
    PRIMARY KEY (intent, number)
);

-- The one answer.
CREATE TABLE outcomes (
    intent      uuid PRIMARY KEY REFERENCES intents (id) ON DELETE CASCADE,
    status      smallint    NOT NULL,
    body        bytea       NOT NULL,
    finished_at timestamptz NOT NULL
);

CREATE INDEX outcomes_finished ON outcomes (finished_at);

-- verdict: 'yours' (with the number of the attempt), 'busy', 'reuse' or 'done' (with the outcome).
CREATE FUNCTION begin_attempt(
    p_id uuid, p_merchant text, p_key text, p_fingerprint bytea,
    p_order_id text, p_order_json text, p_amount_cents bigint, p_currency text, p_lease double precision,
    OUT verdict text, OUT intent_id uuid, OUT attempt int, OUT done_status smallint, OUT done_body bytea
) LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    found_intent intents%ROWTYPE;
    last_number  int;
    last_until   timestamptz;
BEGIN
    LOOP
        INSERT INTO intents (id, merchant, key, fingerprint, order_id, order_json, amount_cents, currency)
        VALUES (p_id, p_merchant, p_key, p_fingerprint, p_order_id, p_order_json, p_amount_cents, p_currency)
        ON CONFLICT (merchant, key) DO NOTHING;
        -- The lock makes everything about one intent happen in a row.
        SELECT * INTO found_intent FROM intents i WHERE i.merchant = p_merchant AND i.key = p_key FOR UPDATE;
        EXIT WHEN FOUND;
        -- Purged in between: it is a new key now.
    END LOOP;
    intent_id := found_intent.id;
    IF found_intent.fingerprint <> p_fingerprint THEN
        verdict := 'reuse';
        RETURN;
    END IF;
    SELECT o.status, o.body INTO done_status, done_body FROM outcomes o WHERE o.intent = intent_id;
    IF FOUND THEN
        verdict := 'done';
        RETURN;
    END IF;
    SELECT a.number, a.until INTO last_number, last_until
    FROM attempts a WHERE a.intent = intent_id ORDER BY a.number DESC LIMIT 1;
    IF FOUND AND last_until > clock_timestamp() THEN
        verdict := 'busy';
        RETURN;
    END IF;
    attempt := coalesce(last_number, 0) + 1;
    INSERT INTO attempts (intent, number, until)
    VALUES (intent_id, attempt, clock_timestamp() + make_interval(secs => p_lease));
    verdict := 'yours';
END
$$;

-- True when the outcome was written; false when another attempt has followed, or the intent has its outcome.
CREATE FUNCTION end_attempt(
    p_intent uuid, p_attempt int, p_status smallint, p_body bytea, p_charge_id text
) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    intended intents%ROWTYPE;
BEGIN
    SELECT * INTO intended FROM intents i WHERE i.id = p_intent FOR UPDATE;
    IF NOT FOUND
        OR EXISTS (SELECT FROM attempts a WHERE a.intent = p_intent AND a.number > p_attempt)
        OR EXISTS (SELECT FROM outcomes o WHERE o.intent = p_intent)
    THEN
        RETURN false;
    END IF;
    INSERT INTO outcomes (intent, status, body, finished_at)
    VALUES (p_intent, p_status, p_body, clock_timestamp());
    IF p_charge_id IS NOT NULL THEN
        INSERT INTO payments (merchant, order_id, amount_cents, currency, charge_id)
        VALUES (intended.merchant, intended.order_id, intended.amount_cents, intended.currency, p_charge_id);
    END IF;
    RETURN true;
END
$$;
