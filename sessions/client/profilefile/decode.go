package profilefile

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"sallyport/sessions/client"
	"sallyport/sessions/durations"
)

// Parse reads the text of a profile. Errors name the key and the expected value.
func Parse(text []byte) (client.Profile, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	raw, keys := New(), map[string]any{}
	err := toml.Unmarshal(text, &keys)
	if v, _ := keys["version"].(int64); err == nil && v > Version {
		return client.Profile{}, withHint(decoded(keys).Errorf("version", "got %d, which requires a newer sallyport", v), NewerHint)
	}
	if err == nil {
		if key := unknownKey(reflect.TypeFor[File](), keys); key != "" {
			return client.Profile{}, fmt.Errorf("unknown key %q", key)
		}
		err = toml.Unmarshal(text, &raw)
	}
	// The library's text may repeat a value, and a value may be a secret.
	var wrong *toml.DecodeError
	if errors.As(err, &wrong) {
		line, _ := wrong.Position()
		if expect := expected(wrong.Key()); expect != "" {
			return client.Profile{}, fmt.Errorf("line %d: %s: expected %s", line, strings.Join(wrong.Key(), "."), expect)
		}
		return client.Profile{}, fmt.Errorf("line %d: expected KEY = VALUE or [TABLE], as in TOML, with quotes around text", line)
	}
	if err != nil {
		return client.Profile{}, errors.New("expected a profile, which is a text in TOML")
	}
	return raw.Profile(decoded(keys))
}

// unknownKey returns the first key of a table, or of one in it, that its struct does not
// have in exactly this form; the library ignores case. Empty: there is none.
func unknownKey(table reflect.Type, keys map[string]any) string {
	names := make([]string, 0, len(keys))
	for name := range keys {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field, ok := fieldOf(table, name)
		if !ok {
			return name
		}
		if tableOf(field.Type).Kind() != reflect.Struct {
			continue
		}
		for _, inner := range tables(keys[name]) {
			if unknown := unknownKey(tableOf(field.Type), inner); unknown != "" {
				return name + "." + unknown
			}
		}
	}
	return ""
}

// tables returns the tables of a value, which is one, or a list of them.
func tables(value any) (all []map[string]any) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, v := range list {
		if table, ok := v.(map[string]any); ok {
			all = append(all, table)
		}
	}
	return all
}

// tableOf returns the type of a table, or of those in a list.
func tableOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		return t.Elem()
	}
	return t
}

func fieldOf(table reflect.Type, key string) (reflect.StructField, bool) {
	for i := range table.NumField() {
		name, _, _ := strings.Cut(table.Field(i).Tag.Get("toml"), ",")
		if name == key {
			return table.Field(i), true
		}
	}
	return reflect.StructField{}, false
}

// expected returns the expect tag of a key; empty: there is no such key.
func expected(key []string) string {
	table, expect := reflect.TypeFor[File](), ""
	for _, name := range key {
		if table.Kind() != reflect.Struct {
			return ""
		}
		field, ok := fieldOf(table, name)
		if !ok {
			return ""
		}
		table, expect = tableOf(field.Type), field.Tag.Get("expect")
	}
	return expect
}

// decoded are the keys of a text.
type decoded map[string]any

// Has implements Source.
func (d decoded) Has(key string) bool {
	table := map[string]any(d)
	parts := strings.Split(key, ".")
	for _, name := range parts[:len(parts)-1] {
		table, _ = table[name].(map[string]any)
	}
	_, ok := table[parts[len(parts)-1]]
	return ok
}

// Duration implements Source.
func (d decoded) Duration(key, value string, byDefault time.Duration) (time.Duration, error) {
	if value == "" && !d.Has(key) {
		return byDefault, nil
	}
	parsed, err := durations.Parse(value)
	if err != nil {
		return 0, d.Errorf(key, "got text that is not a duration")
	}
	return parsed, nil
}

// Errorf implements Source.
func (d decoded) Errorf(key, format string, args ...any) error {
	return fmt.Errorf("%s: expected %s, %s", key, expected(strings.Split(key, ".")), fmt.Sprintf(format, args...))
}

// hinted is an error with a hint.
type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// Hint returns what to do.
func (e *hinted) Hint() string { return e.hint }

func withHint(err error, hint string) error { return &hinted{err, hint} }
