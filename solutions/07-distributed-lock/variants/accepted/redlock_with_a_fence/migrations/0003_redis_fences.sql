CREATE SEQUENCE redis_fences;
CREATE TABLE redis_days (day date PRIMARY KEY, fence bigint NOT NULL);
