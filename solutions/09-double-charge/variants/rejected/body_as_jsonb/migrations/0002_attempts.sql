-- A key is a payment from its first statement on: what was asked for, who is at it, and how it ended.
ALTER TABLE idempotency_keys
    DROP COLUMN payment_id,
    DROP COLUMN created_at,
    -- The request itself, so that an attempt whose client is gone can be brought to its end.
    ADD COLUMN request     text   NOT NULL,
    -- The attempt that may write, and how many there were: from the second on, the provider is asked first.
    ADD COLUMN owner       uuid   NOT NULL,
    ADD COLUMN attempts    bigint NOT NULL DEFAULT 1,
    -- The answer, byte for byte. All three are set together.
    ADD COLUMN status      int,
    ADD COLUMN body        jsonb,
    ADD COLUMN finished_at timestamptz,
    -- What arbitrates between duplicates, on whatever instance they arrive.
    ADD CONSTRAINT idempotency_keys_merchant_key UNIQUE (merchant, key);

DROP INDEX idempotency_keys_lookup;
CREATE INDEX idempotency_keys_unfinished ON idempotency_keys (locked_until) WHERE finished_at IS NULL;

ALTER TABLE payments ADD CONSTRAINT payments_charge UNIQUE (charge_id);
