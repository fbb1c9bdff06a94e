-- Which lines a worker claims from, so that a job says so whose line nobody serves: its model left the configuration while
-- it waited. Null: a worker of the previous release, which does not tell.

-- +goose Up
alter table workers add column lines text[];

-- +goose Down
alter table workers drop column lines;
