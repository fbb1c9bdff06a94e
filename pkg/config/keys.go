package config

import (
	"fmt"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/retry"
)

// The keys of the file, in the order of the README's table. A key that is not
// here is refused.
var (
	topKeys = []Setting{
		{Name: "version", Default: "0", Allowed: "a whole number from 0", Meaning: "raise it with every change of the types: of two processes that differ, the higher version's are stored for SQL"},
	}
	upstreamKeys = []Setting{
		{Name: "kind", Default: kindOpenAI, Allowed: kindOpenAI, Meaning: "the API that it speaks: OpenAI's Responses API"},
		{Name: "base_url", Allowed: allowedBaseURL, Meaning: "where it is (for openai: OPENAI_BASE_URL, or the SDK's own)"},
		{Name: "api_key_env", Of: ofWorker, Allowed: "a variable's name", Meaning: "the variable that holds its key, or with _FILE the key's file (for openai: OPENAI_API_KEY); a loopback address needs none"},
	}
	typeKeys = []Setting{
		{Name: "upstream", Default: jobtype.BuiltinUpstream, Allowed: "a configured upstream", Meaning: "where its calls go; a custom type is paced only if it names one"},
		{Name: "model", Default: jobtype.BuiltinModel, Allowed: "a model's name", Meaning: "the model; the default is for the upstream openai (OPENAI_MODEL), on others it is required"},
		{Name: "models", Allowed: fmt.Sprintf("a list of at most %d", jobtype.MaxFurtherModels), Meaning: "further models that a payload's request may ask for"},
		{Name: "priority", Default: fmt.Sprint(jobtype.DefaultPriority), Allowed: fmt.Sprintf("%d to %d", jobtype.MinPriority, jobtype.MaxPriority), Meaning: "1 is the highest"},
		{Name: "max_attempts", Default: fmt.Sprint(jobtype.DefaultAttempts), Allowed: fmt.Sprintf("%d to %d", jobtype.MinAttempts, jobtype.MaxAttempts), Meaning: "charged tries before a job fails"},
		{Name: "timeout", Default: short(jobtype.DefaultTimeout), Allowed: fmt.Sprintf("%s to %s", short(jobtype.MinTimeout), short(jobtype.MaxTimeout)), Meaning: "of one try"},
		{Name: "max_wait", Allowed: fmt.Sprintf("%s to %s, or 0", short(jobtype.MinMaxWait), short(jobtype.MaxMaxWait)), Meaning: "how long a job may wait before it fails"},
		{Name: "policy", Default: jobtype.BuiltinPolicy, Allowed: "a policy's name, or none", Meaning: "the text in front of the instructions; a custom type has none unless it names one"},
		{Name: "handler", Allowed: handlerCustom, Meaning: "custom: the handler is Go code, and only workers that registered it claim the type"},
		{Name: "temperature", Allowed: "0 to 2", Meaning: "field of the provider's request; reasoning models refuse it"},
		{Name: "max_output_tokens", Allowed: "a whole number from 1", Meaning: "field of the provider's request"},
		{Name: "request", Allowed: "a mapping", Meaning: "any other fields of the provider's request; a payload's own win over them"},
		{Name: "backoff", Allowed: "a mapping", Meaning: "the delays between charged tries, below"},
	}
	webhookKeys = []Setting{
		{Name: "url", Of: ofWorker, Allowed: allowedWebhookURL, Meaning: "where it is told that a job of the tenant has ended which has no callback_url"},
		{Name: "secret_env", Of: ofWorker, Allowed: "a variable's name", Meaning: "the variable that holds the secrets that sign the tenant's webhooks, or with _FILE their file (SLUICE_WEBHOOK_SECRET)"},
	}
	backoffKeys = []Setting{
		{Name: "base", Default: "300ms", Allowed: fmt.Sprintf("%s to %s", short(retry.MinBase), short(retry.MaxCap)), Meaning: "the first delay"},
		{Name: "factor", Default: "6 (full: 2)", Allowed: fmt.Sprintf("%v to %v", retry.MinFactor, retry.MaxFactor), Meaning: "by which each delay is longer than the one before"},
		{Name: "cap", Default: "1m (full: 30s)", Allowed: "base to " + short(retry.MaxCap), Meaning: "the longest delay, before jitter"},
		{Name: "jitter", Default: string(retry.Additive), Allowed: "additive or full", Meaning: "additive lengthens by up to 25 %; full takes anything from nothing to the delay"},
	}
)

func namesOf(keys []Setting) []string {
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	return names
}
