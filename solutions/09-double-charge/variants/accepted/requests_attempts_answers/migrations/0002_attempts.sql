-- What was asked for, who is at it, and how it ended: facts that are added and never changed.
DROP TABLE idempotency_keys;

CREATE TABLE requests (
    merchant    text  NOT NULL,
    key         text  NOT NULL,
    fingerprint bytea NOT NULL,
    request     text  NOT NULL,
    PRIMARY KEY (merchant, key)
);

CREATE TABLE attempts (
    merchant    text        NOT NULL,
    key         text        NOT NULL,
    number      bigint      NOT NULL,
    lease_until timestamptz NOT NULL,
    PRIMARY KEY (merchant, key, number)
);

CREATE TABLE answers (
    merchant text        NOT NULL,
    key      text        NOT NULL,
    status   int         NOT NULL,
    body     bytea       NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (merchant, key)
);
