package legacy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/magiconair/properties"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/nearest"
	"sallyport/cmd/internal/textfile"
	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
	"sallyport/sessions/durable"
)

// open reads a properties file; nil: it does not exist.
func (im *importer) open(name string, known ...string) (*source, error) {
	path := filepath.Join(im.dir, name)
	text, err := durable.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if text, err = textfile.Decode(path, text); err != nil {
		return nil, err
	}
	return im.parse(path, text, known...)
}

// parse parses the text of a properties file. It warns about keys that the first
// implementation does not have.
func (im *importer) parse(path string, text []byte, known ...string) (*source, error) {
	loader := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	if !utf8.Valid(text) {
		loader.Encoding = properties.ISO_8859_1
	}
	if bytes.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		im.warn("%s contains non-ASCII characters, which Java may have read differently: "+
			"if a secret has one, replace the secret on both sides", path)
	}
	p, err := loader.LoadBytes(text)
	if err != nil {
		return nil, hint.With(fmt.Errorf("%s: expected lines of key=value, with \\ only before a character that it escapes", path),
			"write \\\\ for one \\, and \\u with four hexadecimal digits")
	}
	for _, key := range p.Keys() {
		if !slices.Contains(known, key) {
			im.warn("%s: %q is not a key of the first implementation, and is ignored", path, key)
		}
	}
	return &source{path: path, p: p, known: known}, nil
}

// source is a properties file.
type source struct {
	path  string
	p     *properties.Properties
	known []string // the keys of the first implementation
}

func (s *source) text(key, byDefault string) string {
	return strings.TrimSpace(s.p.GetString(key, byDefault))
}

// found describes the value of a key, for errors. It must not be a secret.
func (s *source) found(key string) string {
	if v := s.text(key, ""); v != "" {
		return strconv.Quote(v)
	}
	return "nothing"
}

// required returns a value that is not empty. If the file does not have the key, it
// returns the default; an empty one: the key must be there.
func (s *source) required(key, byDefault string) (string, error) {
	if v := s.text(key, byDefault); v != "" {
		return v, nil
	}
	if _, ok := s.p.Get(key); ok {
		return "", s.wrong(key, byDefault, "expected a value, got nothing")
	}
	err := fmt.Errorf("%s: expected the key %s", s.path, key)
	for _, other := range s.p.Keys() {
		if !slices.Contains(s.known, other) && nearest.Word(other, s.known, maxTyping) == key {
			return "", hint.With(err, fmt.Sprintf("the file has %q: correct it to %s", other, key))
		}
	}
	return "", hint.With(err, fmt.Sprintf("add a line %s=VALUE, with the value that the first implementation used", key))
}

// wrong returns an error about a value, with the default as a remedy; an empty one:
// there is none.
func (s *source) wrong(key, byDefault, format string, args ...any) error {
	todo := fmt.Sprintf("correct the line %s=…", key)
	if byDefault != "" {
		todo += fmt.Sprintf(", or remove it: the default is %s", byDefault)
	}
	return hint.With(fmt.Errorf("%s: %s: "+format, append([]any{s.path, key}, args...)...), todo)
}

// maxTyping is how many edits a mistyped key may be away from the right one.
const maxTyping = 2

// unitOf has the units of numbers.
var unitOf = map[string]string{"open-timeout": " of seconds"}

func (s *source) number(key, byDefault string, low, high int) (int, error) {
	n, err := strconv.Atoi(s.text(key, byDefault))
	if err != nil || n < low || n > high {
		return 0, s.wrong(key, byDefault, "expected a whole number%s from %d to %d, got %s", unitOf[key], low, high, s.found(key))
	}
	return n, nil
}

// boolean returns true or false. Java takes any other text for false.
func (s *source) boolean(key, byDefault string) (bool, error) {
	switch strings.ToLower(s.text(key, byDefault)) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, s.wrong(key, byDefault, "expected true or false, got %s", s.found(key))
}

// host returns an IP address or a host name. Java accepts brackets around an address.
func (s *source) host(key, byDefault string) (string, error) {
	text, err := s.required(key, byDefault)
	if err != nil {
		return "", err
	}
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		text = strings.TrimSuffix(inner, "]")
	}
	if a, err := netip.ParseAddr(text); err == nil && client.ValidHost(text) {
		return a.String(), nil
	}
	if !client.ValidHost(text) {
		return "", s.wrong(key, byDefault, "expected an IP address or a host name, without a port, got %s", s.found(key))
	}
	return text, nil
}

// secret returns a value as Java reads it, with spaces at its end.
func (im *importer) secret(s *source, key string) (string, error) {
	if _, err := s.required(key, ""); err != nil {
		return "", err
	}
	v := s.p.GetString(key, "")
	if strings.ContainsAny(v, "\r\n") {
		return "", hint.With(fmt.Errorf("%s: %s: expected a secret on a single line, got several lines", s.path, key),
			"Java reads the line break as a part of the secret: replace the secret on both sides")
	}
	if fault := profilefile.SecretFault(v); fault != "" {
		return "", hint.With(fmt.Errorf("%s: %s: expected a secret without blanks around it, got %s", s.path, key, fault),
			"Java reads it as a part of the secret: replace the secret on both sides")
	}
	return v, nil
}
