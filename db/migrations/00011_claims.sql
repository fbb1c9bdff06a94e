-- A claim of hundreds of jobs is a row of two long arrays, which lives for a second: to compress it took a twentieth of the claim.

-- +goose Up
alter table claims alter job_ids set storage external, alter leases set storage external;

-- +goose Down
alter table claims alter job_ids set storage extended, alter leases set storage extended;
