package config

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Redacted is a configuration for a bug report.
type Redacted struct {
	// Text has the keys of the file, without comments. It copies numbers, times, true and
	// false, texts that their declaration restricts to some words or to durations, and texts
	// of a form that shapes lists. It has no value of another key, no value that does not fit
	// its key, and no key that this release does not know.
	Text []byte
	// LeftOut are the texts of the file that Text lacks.
	LeftOut []string
	// Files are the files that path-valued keys name, and that exist.
	Files []string
	// Operations and Clients are the names that Text has of them.
	Operations, Clients []string
}

// Redact returns a configuration for a bug report. path is that of the file. The text may
// be faulty, but must be TOML; the error has none of it. Redact reads no other file.
func Redact(path string, text []byte) (Redacted, error) {
	var file map[string]any
	if err := toml.Unmarshal(text, &file); err != nil {
		return Redacted{}, errors.New("the configuration is not in the form of TOML; nothing of it is copied")
	}
	r := &redaction{dir: filepath.Dir(path)}
	r.table(file, reflect.TypeFor[raw](), "")
	r.Text = bytes.TrimLeft(r.text.Bytes(), "\n")
	return r.Redacted, nil
}

// redaction is a redaction in progress.
type redaction struct {
	Redacted
	dir  string
	text bytes.Buffer
}

// table writes the keys of a table, and then the tables in it. key is its key followed by
// a dot, without the numbers of lists.
func (r *redaction) table(values map[string]any, typ reflect.Type, key string) {
	known := map[string]bool{}
	var tables []func()
	for _, field := range fieldsOf(typ) {
		name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
		value, has := values[name]
		known[name] = true
		if !has {
			continue
		}
		elem := field.Type
		if list, ok := value.([]any); ok && elem.Kind() == reflect.Slice && isTable(elem.Elem()) {
			tables = append(tables, func() { r.list(list, elem.Elem(), key+name) })
			continue
		}
		if table, ok := value.(map[string]any); ok && isTable(elem) {
			tables = append(tables, func() {
				fmt.Fprintf(&r.text, "\n[%s]\n", key+name)
				r.table(table, elem, key+name+".")
			})
			continue
		}
		fmt.Fprintf(&r.text, "%s = %s\n", name, r.value(value, field, key+name))
	}
	unknown := 0
	for name, value := range values {
		if !known[name] {
			unknown++
			r.leaveOut(map[string]any{name: value})
		}
	}
	if unknown > 0 {
		fmt.Fprintf(&r.text, "# unknown keys, left out: %d\n", unknown)
	}
	for _, write := range tables {
		write()
	}
}

func (r *redaction) list(list []any, typ reflect.Type, key string) {
	for _, value := range list {
		fmt.Fprintf(&r.text, "\n[[%s]]\n", key)
		table, ok := value.(map[string]any)
		if !ok {
			r.text.WriteString("# no table, left out\n")
			r.leaveOut(value)
			continue
		}
		r.table(table, typ, key+".")
	}
}

// value returns the text of a value, or why it is left out.
func (r *redaction) value(value any, field reflect.StructField, key string) string {
	if list, ok := value.([]any); ok && (field.Type.Kind() == reflect.Slice || field.Type.Kind() == reflect.Interface) {
		one := field
		if field.Type.Kind() == reflect.Slice {
			one.Type = field.Type.Elem()
		}
		parts := make([]string, len(list))
		for i, v := range list {
			parts[i] = r.value(v, one, key)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	switch v := value.(type) {
	case bool, int64, time.Time:
		// A secret of digits only, without quotes, has the type of a number.
		if field.Type == reflect.TypeOf(v) || field.Type.Kind() == reflect.Int && reflect.TypeOf(v).Kind() == reflect.Int64 && r.inRange(v.(int64), field) {
			if at, ok := v.(time.Time); ok {
				return at.Format(time.RFC3339)
			}
			return fmt.Sprint(v)
		}
	case string:
		if v == "" {
			return `""`
		}
		if r.copies(v, field, key) {
			return strconv.Quote(v)
		}
		r.leaveOut(v)
		switch {
		case field.Type.Kind() != reflect.String && field.Type.Kind() != reflect.Interface, field.Tag.Get("oneof") != "", field.Tag.Get("range") != "":
			return `"(does not fit the key, left out)"`
		case shapes[key] == isPath:
			return `"(no such file, or not to be seen by this user; left out)"`
		case shapes[key] != "":
			return `"(left out)"`
		}
		return `"(set, left out)"`
	}
	r.leaveOut(value)
	return `"(does not fit the key, left out)"`
}

func (r *redaction) inRange(n int64, field reflect.StructField) bool {
	if ranges := field.Tag.Get("range"); ranges != "" {
		return inRange(ranges, n)
	}
	return n >= -1<<16 && n <= 1<<16 // ports, bits and the like
}

// leaveOut keeps the texts in a value that is left out.
func (r *redaction) leaveOut(value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, inside := range v {
			if len(name) >= minUnknown && !strings.Contains(Reference, name) { // others are words of all texts
				r.leaveOut(name)
			}
			r.leaveOut(inside)
		}
	case []any:
		for _, inside := range v {
			r.leaveOut(inside)
		}
	case string:
		r.LeftOut = append(r.LeftOut, v)
	case int64:
		if text := strconv.FormatInt(v, 10); len(text) >= minUnknown {
			r.LeftOut = append(r.LeftOut, text)
		}
	}
}

// minUnknown is the length from which a name or a number may be a secret in a wrong place.
const minUnknown = 6

// fieldsOf returns the fields of a table, with those of embedded ones.
func fieldsOf(typ reflect.Type) (fields []reflect.StructField) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous {
			fields = append(fields, fieldsOf(f.Type)...)
			continue
		}
		fields = append(fields, f)
	}
	return fields
}

func isTable(typ reflect.Type) bool {
	return typ.Kind() == reflect.Struct && typ != reflect.TypeFor[time.Time]()
}
