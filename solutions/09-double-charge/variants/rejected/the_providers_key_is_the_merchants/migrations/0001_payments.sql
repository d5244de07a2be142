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

-- What merchants sent in the Idempotency-Key header. `fence` counts the attempts; only the last one may write.
-- status, body and finished_at are set together, once.
CREATE TABLE idempotency_keys (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant     text        NOT NULL,
    key          text        NOT NULL,
    fingerprint  bytea       NOT NULL,
    psp_key      text        NOT NULL,
    fence        bigint      NOT NULL DEFAULT 1,
    locked_until timestamptz NOT NULL,
    status       smallint,
    body         bytea,
    finished_at  timestamptz,
    UNIQUE (merchant, key),
    CHECK ((status IS NULL) = (body IS NULL) AND (status IS NULL) = (finished_at IS NULL))
);

CREATE INDEX idempotency_keys_finished ON idempotency_keys (finished_at) WHERE finished_at IS NOT NULL;
