package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"

	"github.com/goccy/go-yaml"
)

const maxTemperature = 2

// readRequest makes the JSON of a type's default request: the keys that have a
// name of their own, and then those under request, in their order.
func readRequest(s section) json.RawMessage {
	request := s.under("request")
	var items yaml.MapSlice
	if _, given := s.get("temperature"); given {
		n := s.number("temperature", 0)
		if !(n >= 0 && n <= maxTemperature) { // written so that NaN fails
			s.add("temperature", "is %v, must be 0 to %d", n, maxTemperature)
			n = 0
		}
		items = append(items, yaml.MapItem{Key: "temperature", Value: n})
	}
	if _, given := s.get("max_output_tokens"); given {
		n := s.whole("max_output_tokens", 1)
		if n < 1 {
			s.add("max_output_tokens", "is %d, must be a whole number from 1", n)
		}
		items = append(items, yaml.MapItem{Key: "max_output_tokens", Value: n})
	}
	for _, item := range items {
		if _, twice := request.get(item.Key.(string)); twice {
			request.add(item.Key.(string), "is set for the type already")
		}
	}
	items = append(items, request.items...)
	if len(items) == 0 {
		return nil
	}
	var b bytes.Buffer
	if err := writeJSON(&b, items); err != nil {
		s.add("request", "cannot be sent as JSON: %v", err)
		return nil
	}
	return b.Bytes()
}

// writeJSON writes a value of the file as JSON, the keys of mappings in their
// order: in a schema it reaches the model.
func writeJSON(b *bytes.Buffer, value any) error {
	switch v := value.(type) {
	case yaml.MapSlice:
		return writeObject(b, v)
	case []any:
		b.WriteByte('[')
		for i, element := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeJSON(b, element); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return errors.New("a number must be finite")
		}
	}
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	b.Truncate(len(bytes.TrimRight(b.Bytes(), "\n")))
	return err
}

func writeObject(b *bytes.Buffer, items yaml.MapSlice) error {
	object := section{items: items}
	b.WriteByte('{')
	for i, name := range object.names() {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeJSON(b, name); err != nil {
			return err
		}
		b.WriteByte(':')
		value, _ := object.get(name)
		if err := writeJSON(b, value); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}
