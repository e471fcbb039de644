// Package tomlfile reads TOML files strictly: whatever is wrong is an error
// that names the file, the line, the key and what was expected there.
//
//	type raw struct {
//		Ports int `toml:"ports" expect:"a whole number from 1 to 128"`
//	}
//
// The text of the expect tag serves for values of a wrong type here, and for
// values that the caller refuses, by File.Errorf.
package tomlfile

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Error says what is wrong where. It never repeats a value: it may be a
// secret.
type Error struct {
	Path string
	Line int
	Key  string // dotted; empty where the text is no TOML
	Text string
}

func (e *Error) Error() string {
	where := e.Path + ":" + strconv.Itoa(e.Line) + ": "
	if e.Key != "" {
		where += e.Key + ": "
	}
	return where + e.Text
}

// File knows the lines of a file that was decoded.
type File struct {
	path  string
	typ   reflect.Type
	lines map[string]int
}

// Decode reads data, which came from path, into the struct that v points to.
// Each field has a toml and an expect tag.
func Decode(path string, data []byte, v any) (*File, error) {
	f := &File{path: path, typ: reflect.TypeOf(v).Elem()}
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case errors.As(err, &unknown):
		e := unknown.Errors[0]
		line, _ := e.Position()
		return nil, f.unknown(e.Key(), line)
	case errors.As(err, &wrong):
		line, _ := wrong.Position()
		key, text := f.wrong(wrong, data, line)
		return nil, &Error{path, line, key, text}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.lines = lines(data)
	return f, f.exact()
}

// exact finds keys that the library took for ours although their letters are
// of another case.
func (f *File) exact() error {
	first, at := "", 0
	for key, line := range f.lines {
		if _, ok := f.field(split(key)); !ok && key != "" && (at == 0 || line < at || line == at && key < first) {
			first, at = key, line
		}
	}
	if at == 0 {
		return nil
	}
	return f.unknown(split(first), at)
}

func (f *File) unknown(key []string, line int) error {
	parent, name := key[:len(key)-1], key[len(key)-1]
	return &Error{f.path, line, strings.Join(key, "."), fmt.Sprintf("%q is not known here; expected one of %s", name, strings.Join(f.known(parent), ", "))}
}

// Errorf returns an Error for a key such as "service.0.listen": what the
// key's expect tag says, and what was found instead. A key that the file does
// not have is reported at its end.
func (f *File) Errorf(key, format string, args ...any) error {
	line, text := f.lines[key], "expected "
	if expect := f.expect(split(key)); expect != "" {
		text += expect + ", "
	}
	if line == 0 {
		line = f.lines[""]
	}
	return &Error{f.path, line, key, text + fmt.Sprintf(format, args...)}
}

// Has reports whether the file sets a key.
func (f *File) Has(key string) bool { return f.lines[key] != 0 }

// wrong says which key's value is wrong, and what was expected. The library's
// own text serves only for keys: what it says of a value may repeat it.
func (f *File) wrong(e *toml.DecodeError, data []byte, line int) (key, text string) {
	if strings.HasSuffix(e.Error(), "already defined") {
		return strings.Join(e.Key(), "."), "stands here for the second time"
	}
	lines := bytes.Split(data, []byte("\n"))
	name, value, assigns := strings.Cut(string(lines[min(line, len(lines))-1]), "=")
	name = strings.TrimSpace(name)
	if expect := f.expect(e.Key()); expect != "" {
		return strings.Join(e.Key(), "."), "expected " + expect + ", got " + kindOf(value)
	}
	for _, typ := range tables(f.typ) {
		if field, ok := fieldOf(typ, name); ok && assigns {
			return name, "expected " + field.Tag.Get("expect") + ", got " + kindOf(value)
		}
	}
	return "", "expected KEY = VALUE, or a [table], as TOML has it: text stands in quotes"
}

// kindOf says what a value is, as it begins in the file. It does not repeat it.
func kindOf(value string) string {
	value = strings.TrimSpace(value)
	switch {
	case value == "" || value[0] == '#':
		return "nothing"
	case value[0] == '"' || value[0] == '\'':
		return "a text"
	case value[0] == '[':
		return "a list"
	case value[0] == '{':
		return "a table"
	case strings.HasPrefix(value, "true"), strings.HasPrefix(value, "false"):
		return "true or false"
	case value[0] >= '0' && value[0] <= '9', value[0] == '-', value[0] == '+':
		return "a number or a time"
	}
	return "something that is no value of TOML"
}

// tables returns a struct type and those of its tables.
func tables(typ reflect.Type) []reflect.Type {
	all := []reflect.Type{typ}
	for _, field := range reflect.VisibleFields(typ) {
		if inner := tableOf(field.Type); inner.Kind() == reflect.Struct && inner.NumField() > 0 && inner.Field(0).IsExported() {
			all = append(all, tables(inner)...)
		}
	}
	return all
}

// tableOf looks through lists and pointers.
func tableOf(typ reflect.Type) reflect.Type {
	for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	return typ
}

// keyOf is a field's name in the file, without options.
func keyOf(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
	return name
}

func fieldOf(typ reflect.Type, name string) (reflect.StructField, bool) {
	for _, field := range reflect.VisibleFields(typ) {
		if !field.Anonymous && keyOf(field) == name {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

// field finds the struct field of a key; list indices are passed over.
func (f *File) field(key []string) (field reflect.StructField, ok bool) {
	typ := f.typ
	for _, name := range key {
		if _, err := strconv.Atoi(name); err == nil {
			continue
		}
		if typ = tableOf(typ); typ.Kind() != reflect.Struct {
			return field, false
		}
		if field, ok = fieldOf(typ, name); !ok {
			return field, false
		}
		typ = field.Type
	}
	return field, ok
}

func (f *File) expect(key []string) string {
	field, _ := f.field(key)
	return field.Tag.Get("expect")
}

// known lists the keys of a table; of the outermost one if the table is none
// of ours.
func (f *File) known(table []string) (names []string) {
	typ := f.typ
	if field, ok := f.field(table); ok {
		typ = field.Type
	}
	if typ = tableOf(typ); typ.Kind() != reflect.Struct {
		return nil
	}
	for _, field := range reflect.VisibleFields(typ) {
		if !field.Anonymous {
			names = append(names, keyOf(field))
		}
	}
	return names
}

func split(key string) []string { return strings.Split(key, ".") }
