CREATE SEQUENCE report_fences;
