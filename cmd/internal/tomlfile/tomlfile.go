// Package tomlfile reads TOML files strictly. An error names the file, the line,
// the key, the expected value, and the kind of value found.
//
//	type raw struct {
//		Ports int `toml:"ports" expect:"a whole number from 1 to 128"`
//	}
//
// Decode uses the text of the expect tag in errors about values of a wrong type.
// File.Errorf uses it in errors about values that the caller rejects.
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

// Error is an error at a line of a file. Decode never repeats a value in it: the
// value may be a secret.
type Error struct {
	Path string
	Line int
	Key  string // dotted; empty where the text is not valid TOML
	Text string
}

func (e *Error) Error() string {
	where := e.Path + ":" + strconv.Itoa(e.Line) + ": "
	if e.Key != "" {
		where += e.Key + ": "
	}
	return where + e.Text
}

// File is a decoded file, with the lines of its keys.
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
		key, text := f.explain(wrong, data, line)
		return nil, &Error{path, line, key, text}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.lines = lines(data)
	return f, f.checkCase()
}

// checkCase rejects keys that differ from ours only in upper or lower case, which the
// library accepts.
func (f *File) checkCase() error {
	first, firstLine := "", 0
	for key, line := range f.lines {
		if _, ok := f.field(split(key)); ok || key == "" {
			continue
		}
		if firstLine == 0 || line < firstLine || line == firstLine && key < first {
			first, firstLine = key, line
		}
	}
	if firstLine == 0 {
		return nil
	}
	return f.unknown(split(first), firstLine)
}

func (f *File) unknown(key []string, line int) error {
	parent, name := key[:len(key)-1], key[len(key)-1]
	text := fmt.Sprintf("unknown key %q; expected one of %s", name, strings.Join(f.known(parent), ", "))
	return &Error{f.path, line, strings.Join(key, "."), text}
}

// Errorf returns an Error for a key such as "service.0.listen": "expected", the
// text of the key's expect tag, and the formatted text, which begins with "got".
// If the file does not have the key, the line is the last one of the file.
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

// explain returns the key of a value that the library rejects, and the text of
// the Error. It does not use the library's text, which may repeat the value.
func (f *File) explain(e *toml.DecodeError, data []byte, line int) (key, text string) {
	if strings.HasSuffix(e.Error(), "already defined") {
		return strings.Join(e.Key(), "."), "expected each key once, got it a second time"
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
	return "", "expected KEY = VALUE or [TABLE], as in TOML, with quotes around text"
}

// kindOf names the kind of a value by its beginning. It does not repeat the value.
func kindOf(value string) string {
	value = strings.TrimSpace(value)
	switch {
	case value == "" || value[0] == '#':
		return "nothing"
	case value[0] == '"' || value[0] == '\'':
		return "text"
	case value[0] == '[':
		return "a list"
	case value[0] == '{':
		return "a table"
	case strings.HasPrefix(value, "true"), strings.HasPrefix(value, "false"):
		return "true or false"
	case value[0] >= '0' && value[0] <= '9', value[0] == '-', value[0] == '+':
		return "a number or a time"
	}
	return "a value that is not valid TOML"
}

// tables returns a struct type and the types of the tables in it.
func tables(typ reflect.Type) []reflect.Type {
	all := []reflect.Type{typ}
	for _, field := range reflect.VisibleFields(typ) {
		inner := tableOf(field.Type)
		if inner.Kind() == reflect.Struct && inner.NumField() > 0 && inner.Field(0).IsExported() {
			all = append(all, tables(inner)...)
		}
	}
	return all
}

// tableOf returns the element type of lists and pointers.
func tableOf(typ reflect.Type) reflect.Type {
	for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	return typ
}

// keyOf returns a field's key in the file, without the options of the tag.
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

// field finds the struct field of a key. It skips the indices of lists.
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

// known returns the keys of a table. For an unknown table, it returns the keys of
// the file's outermost table.
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
