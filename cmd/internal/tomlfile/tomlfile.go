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
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"sallyport/cmd/internal/nearest"
	"sallyport/cmd/internal/textfile"
)

// Error is an error at a line of a file. Decode never repeats a value in it: the
// value may be a secret.
type Error struct {
	Path string
	Line int    // 0: a missing key, which belongs to no line
	Key  string // dotted, such as "service.0.listen"; empty where it is unknown
	Text string
}

func (e *Error) Error() string {
	where := e.Path + ": "
	if e.Line > 0 {
		where = e.Path + ":" + strconv.Itoa(e.Line) + ": "
	}
	if e.Key != "" {
		where += keyForPeople(e.Key) + ": "
	}
	return where + e.Text
}

// keyForPeople returns a dotted key with the tables of lists counted from 1:
// "service 1: listen".
func keyForPeople(key string) string {
	var b strings.Builder
	separator := ""
	for _, part := range split(key) {
		n, err := strconv.Atoi(part)
		if err == nil && separator != "" {
			fmt.Fprintf(&b, " %d", n+1)
			separator = ": "
			continue
		}
		b.WriteString(separator + part)
		separator = "."
	}
	return b.String()
}

// File is a decoded file, with the lines of its keys.
type File struct {
	path  string
	typ   reflect.Type
	lines map[string]int
}

// Decode reads data, which came from path, into the struct that v points to. It
// ignores a byte order mark. Another encoding is a textfile.EncodingError.
// Each field has a toml and an expect tag.
func Decode(path string, data []byte, v any) (*File, error) {
	data, err := textfile.Decode(path, data)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, typ: reflect.TypeOf(v).Elem()}
	w := walk(data)
	if err := f.checkBrackets(w); err != nil {
		return nil, err
	}
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err = d.Decode(v)
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case errors.As(err, &unknown):
		e := unknown.Errors[0]
		line, _ := e.Position()
		return nil, f.unknown(numbered(e.Key(), w.tableAt(line)), line)
	case errors.As(err, &wrong):
		return nil, f.explain(wrong, w)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.lines = w.lines
	return f, f.checkCase()
}

// checkBrackets rejects [TABLE] for a list of tables, and [[TABLE]] for one table.
// The library accepts some of these.
func (f *File) checkBrackets(w *walker) error {
	for _, h := range w.headers {
		parts := split(h.table)
		if h.list {
			parts = parts[:len(parts)-1]
		}
		field, ok := f.field(parts)
		if !ok || !isTable(field.Type) {
			continue
		}
		name := strings.Join(parts, ".")
		one, several := "["+name+"]", "[["+name+"]]"
		switch isList := field.Type.Kind() == reflect.Slice; {
		case isList && !h.list:
			return &Error{f.path, h.line, "", fmt.Sprintf("expected %s, with two brackets on each side, got %s", several, one)}
		case !isList && h.list:
			return &Error{f.path, h.line, "", fmt.Sprintf("expected %s, with one bracket on each side, got %s", one, several)}
		}
	}
	list, line := "", 0
	for key, at := range w.lines {
		if found := f.unnumbered(split(key)); found != "" && (line == 0 || at < line) {
			list, line = found, at
		}
	}
	if line != 0 {
		return &Error{f.path, line, "", fmt.Sprintf("expected a table [[%s]], got a key of %s without it", list, list)}
	}
	return nil
}

// unnumbered returns the list of tables in which a key has no number of a table, as
// in "service.listen"; empty: there is none.
func (f *File) unnumbered(key []string) string {
	for i := 1; i < len(key); i++ {
		field, ok := f.field(key[:i])
		_, err := strconv.Atoi(key[i])
		_, isNumber := strconv.Atoi(key[i-1])
		if ok && err != nil && isNumber != nil && isTable(field.Type) && field.Type.Kind() == reflect.Slice {
			return strings.Join(key[:i], ".")
		}
	}
	return ""
}

// isTable reports whether a field holds a table, or a list of tables.
func isTable(typ reflect.Type) bool {
	typ = tableOf(typ)
	return typ.Kind() == reflect.Struct && typ != reflect.TypeFor[time.Time]()
}

// numbered returns the dotted form of a key in a table, with the numbers of the
// table, which the library does not return.
func numbered(key []string, table string) string {
	parts := split(table)
	var names []string
	for _, part := range parts {
		if _, err := strconv.Atoi(part); err != nil {
			names = append(names, part)
		}
	}
	if table != "" && len(key) >= len(names) && slices.Equal(key[:len(names)], names) {
		return strings.Join(append(parts, key[len(names):]...), ".")
	}
	return strings.Join(key, ".")
}

// checkCase rejects keys that differ from ours only in upper or lower case, which the
// library accepts.
func (f *File) checkCase() error {
	first, firstLine := "", 0
	for key, line := range f.lines {
		if _, ok := f.field(split(key)); ok {
			continue
		}
		if firstLine == 0 || line < firstLine || line == firstLine && key < first {
			first, firstLine = key, line
		}
	}
	if firstLine == 0 {
		return nil
	}
	return f.unknown(first, firstLine)
}

// unknown returns the error about a key that does not exist: with the key that was
// probably meant, or the table to which it belongs, or else all keys of the table.
func (f *File) unknown(key string, line int) error {
	parts := split(key)
	parent, name := parts[:len(parts)-1], parts[len(parts)-1]
	known := f.known(parent)
	text := fmt.Sprintf("unknown key %q; ", name)
	one, two := nearest.Word(name, known, 1), nearest.Word(name, known, 2)
	_, outermost := fieldOf(f.typ, name)
	switch {
	case one != "":
		text += "did you mean " + one + "?"
	case len(parent) > 0 && outermost:
		text += "write it before the first [table] of the file, where it is a key"
	case tableWith(f.typ, name, "") != "":
		text += "it is a key of " + tableWith(f.typ, name, "")
	case two != "":
		text += "did you mean " + two + "?"
	default:
		text += "expected one of " + strings.Join(known, ", ")
	}
	return &Error{f.path, line, key, text}
}

// tableWith returns the first table below a type that has a key, in brackets; empty:
// none has. at is the name of the type's table, followed by a dot.
func tableWith(typ reflect.Type, name, at string) string {
	var deeper string
	for _, field := range reflect.VisibleFields(typ) {
		inner := tableOf(field.Type)
		if field.Anonymous || inner.Kind() != reflect.Struct || !field.IsExported() || keyOf(field) == "" {
			continue
		}
		if _, ok := fieldOf(inner, name); !ok {
			if deeper == "" {
				deeper = tableWith(inner, name, at+keyOf(field)+".")
			}
			continue
		}
		if field.Type.Kind() == reflect.Slice {
			return "[[" + at + keyOf(field) + "]]"
		}
		return "[" + at + keyOf(field) + "]"
	}
	return deeper
}

// Errorf returns an Error for a key such as "service.0.listen": "expected", the
// text of the key's expect tag, and the formatted text, which begins with "got".
// If the file does not have the key, the line is that of the table that lacks it.
func (f *File) Errorf(key, format string, args ...any) error {
	text := "expected "
	if expect := f.expect(split(key)); expect != "" {
		text += expect + ", "
	}
	return &Error{f.path, f.lineOf(key), key, text + fmt.Sprintf(format, args...)}
}

// lineOf returns the line of a key, or else of the innermost table that would have
// it; 0: that is the outermost one, which begins at no line.
func (f *File) lineOf(key string) int {
	for parts := split(key); len(parts) > 0; parts = parts[:len(parts)-1] {
		if line := f.lines[strings.Join(parts, ".")]; line != 0 {
			return line
		}
	}
	return 0
}

// Has reports whether the file sets a key.
func (f *File) Has(key string) bool { return f.lines[key] != 0 }

// Where returns the place of a key, for an error that wraps another:
// "FILE:LINE: KEY".
func (f *File) Where(key string) string {
	where := f.path
	if line := f.lineOf(key); line != 0 {
		where += ":" + strconv.Itoa(line)
	}
	return where + ": " + keyForPeople(key)
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
