-- Onboarding opens accounts: it inserts here, and the opening deposit into transfers.
CREATE TABLE accounts (
    id            bigint PRIMARY KEY,
    balance_cents bigint NOT NULL CHECK (balance_cents >= 0),
    house         boolean NOT NULL DEFAULT false,
    closed_at     timestamptz
);

CREATE SEQUENCE transfer_numbers;

-- Every movement of money. A deposit comes from nowhere: its from_id is NULL.
CREATE TABLE transfers (
    id        bigint PRIMARY KEY DEFAULT nextval('transfer_numbers'),
    from_id   bigint REFERENCES accounts (id),
    to_id     bigint NOT NULL REFERENCES accounts (id),
    cents     bigint NOT NULL,
    booked_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX transfers_from ON transfers (from_id);
CREATE INDEX transfers_to ON transfers (to_id);
