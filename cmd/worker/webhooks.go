package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/sluicedev/sluice/pkg/config"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/webhook"
)

// newDeliverer wires what tells others that their jobs have ended.
func newDeliverer(db pg.DB, cfg config.WorkerConfig, observe func(int, error, time.Duration), log *slog.Logger) (*webhook.Deliverer, error) {
	hooks := webhook.Config{Keys: map[string][]webhook.Key{}, Endpoints: endpoints(cfg), Hosts: cfg.WebhookHosts, Schedule: webhook.Day, Observe: observe, Log: log}
	secrets := map[string]config.Secret{"": cfg.WebhookSecrets}
	for tenant, w := range cfg.Webhooks {
		secrets[tenant] = w.Secrets
	}
	for tenant, secret := range secrets {
		if secret == "" {
			continue
		}
		keys, err := webhook.ParseKeys(secret.Reveal())
		if err != nil {
			return nil, fmt.Errorf("webhooks of the tenant %q: %w", tenant, err)
		}
		hooks.Keys[tenant] = keys
	}
	for _, network := range cfg.WebhookNetworks {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, fmt.Errorf("SLUICE_WEBHOOK_NETWORKS: %w", err)
		}
		hooks.Networks = append(hooks.Networks, prefix)
	}
	return webhook.New(db, hooks), nil
}

func endpoints(cfg config.WorkerConfig) map[string]string {
	all := map[string]string{}
	for tenant, w := range cfg.Webhooks {
		if w.URL != "" {
			all[tenant] = w.URL
		}
	}
	return all
}
