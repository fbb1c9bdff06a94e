// Package telemetry is what an operator sees of the processes: metrics, traces and logs. It holds every name of a metric, of
// a span's attribute and of a key of the log; they are public, for dashboards, alerts and autoscalers read them.
//
// The concepts know nothing of it: they have hooks, or are read when Prometheus asks. Commands wire the two.
//
// It promises that labels are bounded: they are upstreams, types, routes and outcomes, which the configuration or the code
// names, and never a tenant, a job or a path that a client made up. It never shows a prompt, a result or a secret.
package telemetry
