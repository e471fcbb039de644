package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"sallyport/cmd/internal/tomlfile"
)

// declaration is a key as its field declares it, at its place in a file.
type declaration struct {
	path  string // such as "service.0.listen"
	name  string // such as "listen"
	field reflect.StructField
	value reflect.Value
	class string // of reload; a table's own one counts for its keys
	given string // the default that the table has for it
}

// declared calls f with each key of a table, those of the tables in it
// included, but not those in its lists of tables.
func declared(table reflect.Value, at, class, defaults string, f func(declaration) error) error {
	for i := range table.NumField() {
		field, value := table.Type().Field(i), table.Field(i)
		d := declaration{path: at + field.Tag.Get("toml"), name: field.Tag.Get("toml"), field: field, value: value, class: class}
		d.name, _, _ = strings.Cut(d.name, ",")
		d.path = at + d.name
		if own, ok := field.Tag.Lookup("reload"); ok {
			d.class = own
		}
		d.given = named(defaults, d.name)
		var err error
		switch {
		case field.Anonymous:
			err = declared(value, at, class, defaults, f)
		case field.Type.Kind() == reflect.Struct && field.Type != reflect.TypeFor[time.Time]():
			err = declared(value, d.path+".", d.class, field.Tag.Get("default"), f)
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

// fill gives the keys of a table that the file does not set their defaults, and
// refuses values that are not as declared. Kind is the type of a service.
func fill(f *tomlfile.File, table any, at, kind string) error {
	return declared(reflect.ValueOf(table).Elem(), at, "", "", func(d declaration) error {
		if !f.Has(d.path) {
			if d.field.Tag.Get("required") != "" {
				return f.Errorf(d.path, "got nothing")
			}
			d.set(d.byDefault(kind))
			return nil
		}
		if kinds := d.field.Tag.Get("kinds"); kinds != "" && !contains(kinds, ",", kind) {
			return f.Errorf(d.path, "got it for a service of type %q, which has no such key", kind)
		}
		return d.check(f)
	})
}

// byDefault is the text of the default; empty: there is none.
func (d declaration) byDefault(kind string) string {
	if d.given != "" {
		return d.given
	}
	all := d.field.Tag.Get("default")
	if own := named(all, kind); own != "" {
		return own
	}
	first, _, _ := strings.Cut(all, ",")
	return first
}

// named finds NAME=TEXT in a list.
func named(list, name string) string {
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

// set gives a key its default. What a declaration says of itself is tested, so
// that it cannot be wrong here.
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
		panic("config: a default of " + d.path + ", which can have none")
	}
}

// check refuses a value that is not as declared.
func (d declaration) check(f *tomlfile.File) error {
	if choices := d.field.Tag.Get("oneof"); choices != "" && !contains(choices, "|", d.value.String()) {
		return f.Errorf(d.path, "got %q", d.value.String())
	}
	ranges := d.field.Tag.Get("range")
	if ranges == "" {
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
			if !within(ranges, v.Int()) {
				return f.Errorf(d.path, "got %d", v.Int())
			}
			continue
		}
		n, err := time.ParseDuration(v.String())
		if err != nil {
			return f.Errorf(d.path, "got no duration")
		}
		if !within(ranges, int64(n)) {
			return f.Errorf(d.path, "got %q", v.String())
		}
	}
	return nil
}

// within reports whether a number, or a duration in nanoseconds, lies in one of
// the declared ranges.
func within(ranges string, n int64) bool {
	for part := range strings.SplitSeq(ranges, "|") {
		low, high, between := strings.Cut(part, "..")
		if !between {
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
	d, err := time.ParseDuration(text)
	if err != nil {
		panic("config: the bound " + text + ": " + err.Error())
	}
	return int64(d)
}

// text is a value in a form in which equal ones are alike, however they were
// written.
func (d declaration) text() string {
	if d.field.Tag.Get("range") != "" && d.value.Kind() == reflect.String {
		if n, err := time.ParseDuration(d.value.String()); err == nil {
			return n.String()
		}
	}
	return fmt.Sprint(d.value.Interface())
}
