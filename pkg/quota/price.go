package quota

// Price is what a provider takes for a token that was booked, learned from its readings. Bookings are estimates, and what
// they are estimates of is up to the provider: OpenAI charges the larger of max_output_tokens and a guess from the
// characters at admission, others what was really used. The first is often many times the second, and whoever books
// the first and is charged the second gets a fraction of the quota. It is never above 1: what is charged beyond the bookings
// may be others' use, and counts as that.
type Price struct {
	Charged, Booked float64 `json:",omitzero"` // tokens, of late
}

const (
	leastPrice = 0.01
	// oldPrices is the share of the limit whose bookings are remembered; assumed is the share up to which a price of 1 is
	// taken for granted of what was not booked yet, so that one estimate that was wrong is no price.
	oldPrices = 0.5
	assumed   = 0.05
)

// factor is the price, from 0.01 to 1.
func (p Price) factor(limit float64) float64 {
	unproven := max(0, assumed*limit-p.Booked)
	return min(max((p.Charged+unproven)/(p.Booked+unproven), leastPrice), 1)
}

// full tells whether it was seen that what is booked is charged.
func (p Price) full(limit float64) bool { return p.Booked >= assumed*limit && p.factor(limit) >= 0.9 }

// paid takes what was charged between two readings, and what was booked for the same time.
func (p Price) paid(charged, booked, limit float64) Price {
	p = Price{p.Charged + max(0, charged), p.Booked + max(0, booked)}
	if old := oldPrices * limit; p.Booked > old {
		p = Price{p.Charged * old / p.Booked, old}
	}
	p.Charged = min(p.Charged, p.Booked) // others' use is not remembered as ours
	return p
}

// price of a booked token in a dimension; a call's request costs what it costs.
func (l Limit) price(d Dimension) float64 {
	if d == Requests || !l.Known() {
		return 1
	}
	return l.Price.factor(l.Limit)
}
