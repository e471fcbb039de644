package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"sallyport/cmd/internal/nearest"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/durations"
)

// declaration is the declaration of a key by a struct field.
type declaration struct {
	path         string // such as "service.0.listen"
	name         string // such as "listen"
	field        reflect.StructField
	value        reflect.Value
	class        string // the reload class: the field's, or else the table's
	tableDefault string // the default of this key in the declaration of its table
}

// walkKeys calls f for each key of a table and of the tables in it, but not for
// the keys of its lists of tables. at is the key of the table followed by a dot,
// class its reload class, and defaults its list of KEY=DEFAULT.
func walkKeys(table reflect.Value, at, class, defaults string, f func(declaration) error) error {
	for i := range table.NumField() {
		field, value := table.Type().Field(i), table.Field(i)
		d := declaration{field: field, value: value, class: class}
		d.name, _, _ = strings.Cut(field.Tag.Get("toml"), ",")
		d.path = at + d.name
		if fieldClass, ok := field.Tag.Lookup("reload"); ok {
			d.class = fieldClass
		}
		d.tableDefault = entry(defaults, d.name)
		var err error
		switch {
		case field.Anonymous:
			err = walkKeys(value, at, class, defaults, f)
		case field.Type.Kind() == reflect.Struct && field.Type != reflect.TypeFor[time.Time]():
			err = walkKeys(value, d.path+".", d.class, field.Tag.Get("default"), f)
		case field.Type.Kind() == reflect.Slice && field.Type.Elem().Kind() == reflect.Struct:
			continue
		default:
			err = f(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fill sets the keys that are not in the file to their defaults, and rejects
// values that do not match their declarations. kind is the type of a service.
func fill(f *tomlfile.File, table any, at, kind string) error {
	return walkKeys(reflect.ValueOf(table).Elem(), at, "", "", func(d declaration) error {
		kinds := d.field.Tag.Get("kinds")
		possible := kinds == "" || contains(kinds, ",", kind)
		if !f.Has(d.path) {
			if possible && d.field.Tag.Get("required") != "" {
				return f.Errorf(d.path, "got nothing")
			}
			d.set(d.defaultText(kind))
			return nil
		}
		if !possible {
			return f.Errorf(d.path, "got it for a service of type %q, which does not have this key", kind)
		}
		return d.check(f)
	})
}

// defaultText returns the default as text; empty: the key has none.
func (d declaration) defaultText(kind string) string {
	if d.tableDefault != "" {
		return d.tableDefault
	}
	all := d.field.Tag.Get("default")
	if text := entry(all, kind); text != "" {
		return text
	}
	first, _, _ := strings.Cut(all, ",")
	return first
}

// entry returns TEXT of NAME=TEXT in a comma-separated list.
func entry(list, name string) string {
	for part := range strings.SplitSeq(list, ",") {
		if n, text, ok := strings.Cut(part, "="); ok && n == name {
			return text
		}
	}
	return ""
}

func contains(list, separator, word string) bool {
	for part := range strings.SplitSeq(list, separator) {
		if part == word {
			return true
		}
	}
	return false
}

// set sets a key to its default. It panics on a default that does not fit the type
// of the field; the tests check all declarations.
func (d declaration) set(text string) {
	if text == "" {
		return
	}
	switch d.value.Kind() {
	case reflect.String:
		d.value.SetString(text)
	case reflect.Bool:
		d.value.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			panic("config: the default of " + d.path + ": " + err.Error())
		}
		d.value.SetInt(n)
	default:
		panic("config: a default of " + d.path + ", whose type cannot have one")
	}
}

// check rejects a value that does not match its declaration.
func (d declaration) check(f *tomlfile.File) error {
	if choices := d.field.Tag.Get("oneof"); choices != "" && !contains(choices, "|", d.value.String()) {
		return f.Errorf(d.path, "got %q", d.value.String())
	}
	ranges := d.field.Tag.Get("range")
	if ranges == "" || d.value.Kind() == reflect.String && d.value.String() != "" && d.value.String() == d.field.Tag.Get("or") {
		return nil
	}
	values := []reflect.Value{d.value}
	if d.value.Kind() == reflect.Slice {
		values = values[:0]
		for i := range d.value.Len() {
			values = append(values, d.value.Index(i))
		}
	}
	for _, v := range values {
		if v.Kind() != reflect.String {
			if !inRange(ranges, v.Int()) {
				return f.Errorf(d.path, "got %d", v.Int())
			}
			continue
		}
		n, err := durations.Parse(v.String())
		if err != nil {
			if or := d.field.Tag.Get("or"); or != "" && nearest.Word(v.String(), []string{or}, 2) != "" {
				return f.Errorf(d.path, "got %q; did you mean %q?", v.String(), or)
			}
			if v.String() == UntilClosed {
				return f.Errorf(d.path, "got %q, which only open_for of an [[operation]] may be: knocks cannot close", v.String())
			}
			return f.Errorf(d.path, "%s", tomlfile.NotDuration(v.String()))
		}
		if !inRange(ranges, int64(n)) {
			return f.Errorf(d.path, "got %q", v.String())
		}
	}
	return nil
}

// inRange reports whether a number, or a duration in nanoseconds, is in one of the
// declared ranges.
func inRange(ranges string, n int64) bool {
	for part := range strings.SplitSeq(ranges, "|") {
		low, high, isRange := strings.Cut(part, "..")
		if !isRange {
			high = low
		}
		if (low == "" || n >= bound(low)) && (high == "" || n <= bound(high)) {
			return true
		}
	}
	return false
}

func bound(text string) int64 {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	d, err := durations.Parse(text)
	if err != nil {
		panic("config: the bound " + text + ": " + err.Error())
	}
	return int64(d)
}

// text returns the value in a canonical form: equal durations have equal texts,
// such as 60s and 1m.
func (d declaration) text() string {
	if d.field.Tag.Get("range") != "" && d.value.Kind() == reflect.String {
		if n, err := durations.Parse(d.value.String()); err == nil {
			return n.String()
		}
	}
	switch d.value.Kind() {
	case reflect.Slice, reflect.Interface:
		return fmt.Sprintf("%q", d.value.Interface()) // ["a b"] is not ["a", "b"]
	}
	return fmt.Sprint(d.value.Interface())
}
