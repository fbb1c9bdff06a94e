-- Failed and cancelled jobs, so that they are found among a million that are done: an index on the state of jobs would end
-- their HOT updates. They are few, and a job that is done writes nothing here.

-- +goose Up
create table ended (
    tenant text not null,
    state  text not null,
    job_id uuid not null,
    primary key (tenant, state, job_id)
);
insert into ended (tenant, state, job_id) select tenant, state, id from jobs where state in ('failed', 'cancelled') order by id;

-- +goose Down
drop table ended;
