package main

import (
	"bufio"
	"bytes"
	"io"
	"iter"
	"net/netip"
	"os"
	"regexp"
	"strings"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/diag"
	"sallyport/sessions/durable"
)

// Bounds of what "diag" reads of files, to know what must not be in the archive. None of
// these files is a part of it.
const (
	maxLearned        = 64 << 10 // bytes of a file that the configuration names
	maxLearnedClients = 100_000  // lines of the clients file
)

// ordinary is the form of texts that may be ordinary words: the scrubber replaces them only
// as whole words.
var ordinary = regexp.MustCompile(`^[A-Za-z]*$|^.{0,7}$`)

// learnRedacted gives the scrubber the values that the redacted configuration lacks, the
// content of the files that it names, and the names in it.
func learnRedacted(s *diag.Scrubber, r config.Redacted) {
	for _, text := range r.LeftOut {
		learnValue(s, text)
		// Parts of it, of which an error or a finding quotes one: a path, a variable, a host.
		parts := strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune("\n\r\t \"',;=@", c) })
		for _, part := range parts {
			learnValue(s, part)
		}
	}
	for _, name := range r.Operations {
		s.Name("operation", name)
	}
	for _, name := range r.Clients {
		s.Name("client", name)
	}
	for _, path := range r.Files {
		learnFile(s, path)
	}
	if host, err := os.Hostname(); err == nil {
		s.Text(host)
	}
}

// learnValue gives the scrubber a value. An address gets a pseudonym instead.
func learnValue(s *diag.Scrubber, text string) {
	if _, err := netip.ParseAddr(text); err == nil {
		return
	}
	if ordinary.MatchString(text) {
		s.Text(text)
	} else {
		s.Secret(text)
	}
}

// learnText gives the scrubber each value of a configuration that cannot be parsed.
func learnText(s *diag.Scrubber, text string) {
	for line := range strings.Lines(text) {
		_, value, _ := strings.Cut(line, "=")
		for part := range strings.FieldsFuncSeq(value, func(c rune) bool { return strings.ContainsRune("\n\r\t \"'[],", c) }) {
			learnValue(s, part)
		}
	}
}

// learnFile gives the scrubber the lines of a file: a secret, or those of a key.
func learnFile(s *diag.Scrubber, path string) {
	f, err := durable.OpenRegular(path)
	if err != nil {
		return // nothing else reads it either
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLearned))
	if err != nil || bytes.IndexByte(text, 0) >= 0 {
		return
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "-----") {
			learnValue(s, line)
		}
	}
}

// learnClients gives the scrubber the secrets and notes of a clients file, also of lines
// with a fault, and returns the identifiers.
func learnClients(s *diag.Scrubber, path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		f, err := durable.OpenRegular(path)
		if err != nil {
			return
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for n := 0; n < maxLearnedClients && lines.Scan(); n++ {
			text := strings.TrimSpace(lines.Text())
			columns, note, _ := strings.Cut(text, "note=")
			s.Text(note)
			comment := strings.HasPrefix(text, "#")
			for i, field := range strings.Fields(columns) {
				key, value, pair := strings.Cut(field, "=")
				switch {
				case comment: // perhaps a client that is commented out
					if len(field) >= 16 && !ordinary.MatchString(field) {
						s.Secret(field)
					}
				case i == 0:
					if !yield(field) {
						return
					}
				case i == 1 || pair && key == "old", i > 1 && key != "services" && key != "until" && key != "expires" && len(field) > 10:
					s.Secret(field)
					s.Secret(value)
				}
			}
		}
	}
}
