-- A clock that is set forward must not end every lease at once: a claim's deadline is counted in its worker's beats as well.

-- +goose Up
alter table claims add column deadline_beat bigint not null default 0; -- of its worker; 0: a worker of the previous release

-- +goose Down
alter table claims drop column deadline_beat;
