package legacy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/magiconair/properties"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/textfile"
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
		return nil, fmt.Errorf("%s: expected lines of key=value", path)
	}
	for _, key := range p.Keys() {
		if !slices.Contains(known, key) {
			im.warn("%s: %q is not a key of the first implementation, and is ignored", path, key)
		}
	}
	return &source{path: path, p: p}, nil
}

// source is a properties file.
type source struct {
	path string
	p    *properties.Properties
}

func (s *source) text(key, byDefault string) string {
	return strings.TrimSpace(s.p.GetString(key, byDefault))
}

func (s *source) required(key string) (string, error) {
	if v := s.text(key, ""); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("%s: expected the key %s", s.path, key)
}

func (s *source) number(key, byDefault string, low, high int) (int, error) {
	n, err := strconv.Atoi(s.text(key, byDefault))
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%s: %s: expected a whole number from %d to %d", s.path, key, low, high)
	}
	return n, nil
}

// secret returns a value as Java reads it, with spaces at its end.
func (im *importer) secret(s *source, key string) (string, error) {
	if _, err := s.required(key); err != nil {
		return "", err
	}
	v := s.p.GetString(key, "")
	if strings.ContainsAny(v, "\r\n") {
		return "", fmt.Errorf("%s: %s: expected a secret on a single line, got several lines", s.path, key)
	}
	if fault := secretfile.Fault(v); fault != "" {
		return "", hint.With(fmt.Errorf("%s: %s: expected a secret without blanks around it, got %s", s.path, key, fault),
			"Java reads it as a part of the secret: replace the secret on both sides")
	}
	return v, nil
}
