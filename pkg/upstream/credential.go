package upstream

import (
	"slices"

	"github.com/sluicedev/sluice/pkg/breaker"
)

// Parked tells whether calls with this credential are refused while others' are accepted: its workers leave the jobs to
// them. A credential goes by its fingerprint; "" is not known, and never parked.
func (s Status) Parked(credential string) bool {
	return s.State == string(breaker.Closed) && slices.Contains(s.Refused, credential)
}

// AdmitsWith tells whether a worker with this credential may probe now.
func (s Status) AdmitsWith(credential string) bool {
	return s.Admits || s.AdmitsUntried && credential != "" && !slices.Contains(s.Refused, credential)
}
