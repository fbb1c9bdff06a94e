-- What every API key has to be, whoever writes the row. Above all its tenant has a name: to count for "" is to count for all.

-- +goose Up

alter table api_keys
    add constraint api_keys_tenant_length check (char_length(tenant) between 1 and 100),
    add constraint api_keys_name_length check (char_length(name) between 1 and 100),
    add constraint api_keys_scopes_some check (cardinality(scopes) > 0),
    add constraint api_keys_expires_later check (expires_at > created_at and isfinite(expires_at));

-- +goose Down
alter table api_keys
    drop constraint api_keys_tenant_length,
    drop constraint api_keys_name_length,
    drop constraint api_keys_scopes_some,
    drop constraint api_keys_expires_later;
