package quota

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"time"
)

// A quota is kept as JSON in a row that is written several times a second. Postgres can put a new version of a row beside
// the old one only while the page has room, so it is kept small: zeros are left out, numbers have nine digits, which is
// one in a billion, and the ring is two strings. What it says in full is in the row's own columns.

// digits that are kept of a number.
const digits = 9

// MarshalJSON shortens the numbers, but for the limit, which the next reading is compared with.
func (l Limit) MarshalJSON() ([]byte, error) {
	type plain Limit
	for _, v := range []*float64{&l.Level, &l.Remaining, &l.Counted, &l.Dip.Depth, &l.Drain, &l.Price.Charged, &l.Price.Booked} {
		*v, _ = strconv.ParseFloat(strconv.FormatFloat(*v, 'g', digits, 64), 64)
	}
	return json.Marshal(plain(l))
}

// keptRing is a ring whose slots are packed: base64 of an unsigned varint each, the oldest first. The names are not those of
// the ring's own fields, which a process of the version before this one would read as lists, and fail.
type keptRing struct {
	At       time.Time
	Requests string `json:"R"`
	Tokens   string `json:"T"`
}

// MarshalJSON packs the slots.
func (r Ring) MarshalJSON() ([]byte, error) {
	return json.Marshal(keptRing{r.At, pack(r.Requests), pack(r.Tokens)})
}

// UnmarshalJSON unpacks them. A ring that cannot be read is an empty one: it holds no more than the last 16 seconds.
func (r *Ring) UnmarshalJSON(data []byte) error {
	var kept keptRing
	*r = Ring{}
	if json.Unmarshal(data, &kept) != nil {
		return nil
	}
	requests, ok := unpack(kept.Requests)
	tokens, ok2 := unpack(kept.Tokens)
	if ok && ok2 {
		*r = Ring{kept.At, requests, tokens}
	}
	return nil
}

func pack(slots [Slots]int32) string {
	packed := make([]byte, 0, 3*Slots)
	for _, n := range slots {
		packed = binary.AppendUvarint(packed, uint64(n)) // never below 0: see add
	}
	return base64.RawStdEncoding.EncodeToString(packed)
}

func unpack(text string) (slots [Slots]int32, ok bool) {
	packed, err := base64.RawStdEncoding.DecodeString(text)
	for i := range slots {
		n, size := binary.Uvarint(packed)
		if err != nil || size <= 0 || n > 1<<31-1 {
			return slots, false
		}
		slots[i], packed = int32(n), packed[size:]
	}
	return slots, len(packed) == 0
}
