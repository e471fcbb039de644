package tomlfile

import (
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"sallyport/sessions/durations"
)

// assignment is a line KEY = VALUE.
var assignment = regexp.MustCompile(`^\s*([A-Za-z0-9_.-]+)\s*=(.*)$`)

// explain returns the error about a text that the library rejects. It does not use
// the library's text, which may repeat the value.
func (f *File) explain(e *toml.DecodeError, w *walker) error {
	line, _ := e.Position()
	lines := strings.Split(string(w.data), "\n")
	line = min(line, len(lines))
	if !assignment.MatchString(lines[line-1]) || strings.Contains(e.Error(), "array") {
		line = listAbove(lines, line)
	}
	table, text := w.tableAt(line), lines[line-1]
	name, value := "", text
	if m := assignment.FindStringSubmatch(text); m != nil {
		name, value = m[1], m[2]
	}
	if again := e.Error(); strings.HasSuffix(again, "already defined") || strings.HasSuffix(again, "already exists") {
		key := strings.Join(e.Key(), ".")
		if name != "" {
			key = strings.Join(append(splitTable(table), split(name)...), ".")
		}
		return &Error{f.path, line, key, "expected each key once, got it a second time"}
	}
	key := numbered(e.Key(), table)
	field, ok := f.field(split(key))
	if (!ok || len(e.Key()) == 0) && name != "" {
		key = strings.Join(append(splitTable(table), split(name)...), ".")
		field, ok = f.field(split(key))
	}
	if ok && key != "" {
		return &Error{f.path, line, key, "expected " + field.Tag.Get("expect") + ", " + found(value, field)}
	}
	trimmed := strings.TrimSpace(text)
	first, _, _ := strings.Cut(trimmed, " ")
	key = strings.Join(append(splitTable(table), first), ".")
	if _, ok := f.field(split(key)); ok && name == "" && first != "" {
		return &Error{f.path, line, key, "expected KEY = VALUE, got the key without ="}
	}
	if strings.HasPrefix(trimmed, "[") {
		return &Error{f.path, line, "", "expected [TABLE] or [[TABLE]], with as many brackets on the right as on the left"}
	}
	return &Error{f.path, line, "", "expected KEY = VALUE or [TABLE], as in TOML, with quotes around text"}
}

// listAbove returns the line on which the list begins that is open at a line, or
// else the line itself.
func listAbove(lines []string, line int) int {
	for at := line; at > 0; at-- {
		m := assignment.FindStringSubmatch(lines[at-1])
		if m != nil && strings.HasPrefix(strings.TrimSpace(m[2]), "[") {
			return at
		}
		closed := at < line && strings.Contains(lines[at-1], "]")
		if closed || at < line && m != nil {
			break
		}
	}
	return line
}

// splitTable is split, but has no part for the outermost table.
func splitTable(table string) []string {
	if table == "" {
		return nil
	}
	return split(table)
}

// found describes a value of the wrong kind, and what to write. It does not repeat
// the value.
func found(value string, field reflect.StructField) string {
	value = strings.TrimSpace(value)
	kind := kindOf(value)
	got := "got " + kind
	wantsText := field.Type.Kind() == reflect.String
	switch first, _ := utf8.DecodeRuneInString(value); {
	case strings.ContainsRune(curlyQuotes, first):
		return "got curly quotes; write straight ones (\")"
	case kind == kindText && !closed(value) && strings.ContainsAny(value, curlyQuotes):
		return "got a curly quote at the end; write a straight one (\")"
	case kind == kindText && !closed(value):
		return "got text without its closing quote"
	case kind == kindText && wantsText:
		return "got more than a text; write one text in quotes"
	case kind == kindList && field.Type.Kind() == reflect.Slice:
		return "got a list that has an entry of another kind, or lacks a comma or its closing bracket"
	case kind == kindNumber && wantsText && strings.HasPrefix(field.Tag.Get("expect"), "a duration"):
		return got + "; write it in quotes, with a unit (" + durations.Units + ")"
	case wantsText && (kind == kindNumber || kind == kindBool):
		return got + "; write text in quotes"
	case wantsText && kind == kindOther:
		return "got text without quotes; write it in quotes"
	}
	return got
}

// curlyQuotes are what an editor for prose, or a web page, puts in place of quotes.
const curlyQuotes = "“”„‟‘’‚‛«»"

// closed reports whether a text ends with the quote with which it begins.
func closed(text string) bool {
	quote := text[0]
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote == '"':
			i++
		case text[i] == quote:
			return true
		}
	}
	return false
}

// The kinds of values.
const (
	kindNothing = "nothing"
	kindText    = "text"
	kindList    = "a list"
	kindTable   = "a table"
	kindBool    = "true or false"
	kindNumber  = "a number or a time"
	kindOther   = "a value that is not valid TOML"
)

// kindOf names the kind of a value by its beginning. It does not repeat the value.
func kindOf(value string) string {
	value = strings.TrimSpace(value)
	switch {
	case value == "" || value[0] == '#':
		return kindNothing
	case value[0] == '"' || value[0] == '\'':
		return kindText
	case value[0] == '[':
		return kindList
	case value[0] == '{':
		return kindTable
	case strings.HasPrefix(value, "true"), strings.HasPrefix(value, "false"):
		return kindBool
	case value[0] >= '0' && value[0] <= '9', value[0] == '-', value[0] == '+':
		return kindNumber
	}
	return kindOther
}
