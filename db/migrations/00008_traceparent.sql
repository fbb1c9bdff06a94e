-- The trace that enqueued a job (https://www.w3.org/TR/trace-context/), so that the span of its attempts links to it.
-- A column without a default rewrites nothing; the check is for new rows, so that no old one is read for it.

-- +goose Up
alter table jobs add column traceparent text,
    add constraint jobs_traceparent_length check (length(traceparent) <= 128) not valid;

-- +goose Down
alter table jobs drop column traceparent;
