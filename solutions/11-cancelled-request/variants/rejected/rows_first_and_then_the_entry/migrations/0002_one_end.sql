-- A report ends once: whoever comes second finds that it has ended.
CREATE UNIQUE INDEX audit_one_end ON audit (report) WHERE event <> 'started';
