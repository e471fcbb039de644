package diag

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	// shortest is the length of the shortest text that a Scrubber replaces: shorter ones are
	// parts of ordinary words.
	shortest = 4
	// leftOut replaces secrets, and other texts without a pseudonym.
	leftOut = "(left out)"
)

// Scrubber replaces texts. The zero value replaces addresses only. It is not safe for
// concurrent use.
type Scrubber struct {
	// texts has the texts to replace, by their first bytes, the longest first.
	texts     map[[shortest]byte][]replaced
	names     map[string]string // pseudonyms
	counts    map[string]int    // of pseudonyms, by kind
	addresses addresses
}

type replaced struct {
	text, with string
	word       bool // only where no letter or digit is beside it
}

// Secret makes Scrub replace a text. It trims blanks around it. Texts of less than four
// bytes have no effect.
func (s *Scrubber) Secret(text string) {
	text = strings.TrimSpace(text)
	s.add(replaced{text, leftOut, false})
	for _, quoted := range []string{strconv.Quote(text), jsonText(text)} { // as the log and JSON have it
		s.add(replaced{quoted[1 : len(quoted)-1], leftOut, false})
	}
}

// Text is Secret for a text that may be an ordinary word: only whole words are replaced.
func (s *Scrubber) Text(text string) { s.add(replaced{strings.TrimSpace(text), leftOut, true}) }

// Name makes Scrub replace a name by a pseudonym, such as client-1, where it is a word.
func (s *Scrubber) Name(kind, name string) {
	if name != "" && s.names[name] == "" && !isPseudonym.MatchString(name) {
		if s.names == nil {
			s.names, s.counts = map[string]string{}, map[string]int{}
		}
		s.counts[kind]++
		s.names[name] = kind + "-" + strconv.Itoa(s.counts[kind])
		s.add(replaced{name, s.names[name], true})
	}
}

var isPseudonym = regexp.MustCompile(`^(client|operation)-\d+$`)

func (s *Scrubber) add(r replaced) {
	if len(r.text) < shortest {
		return
	}
	if s.texts == nil {
		s.texts = map[[shortest]byte][]replaced{}
	}
	key := [shortest]byte([]byte(r.text))
	for _, other := range s.texts[key] {
		if other.text == r.text && (other.word == r.word || !other.word) {
			return
		}
	}
	all := append(s.texts[key], r)
	slices.SortStableFunc(all, func(a, b replaced) int { return len(b.text) - len(a.text) })
	s.texts[key] = all
}

// learned are the places where the server's texts have names: of clients that the list no
// longer has, too.
var learned = []struct {
	kind string
	at   *regexp.Regexp
}{
	{"client", regexp.MustCompile(`\bclient=("(?:[^"\\]|\\.)*"|[^\s"]+)`)},
	{"client", regexp.MustCompile(`"client":("(?:[^"\\]|\\.)*")`)},
	{"operation", regexp.MustCompile(`\boperation=("(?:[^"\\]|\\.)*"|[^\s"]+)`)},
	{"operation", regexp.MustCompile(`"operation":("(?:[^"\\]|\\.)*")`)},
}

// Learn gives the names in the log or an answer of the server pseudonyms.
func (s *Scrubber) Learn(text string) {
	for _, l := range learned {
		for _, m := range l.at.FindAllStringSubmatch(text, -1) {
			name := m[1]
			if unquoted, err := strconv.Unquote(name); err == nil {
				name = unquoted
			}
			s.Name(l.kind, name)
		}
	}
}

// Scrub returns a text without what it must not have.
func (s *Scrubber) Scrub(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); {
		r := s.at(text, i)
		if r == nil {
			out.WriteByte(text[i])
			i++
			continue
		}
		out.WriteString(r.with)
		i += len(r.text)
	}
	return s.addresses.replace(out.String())
}

// at returns what is replaced at a place of a text, or nil.
func (s *Scrubber) at(text string, i int) *replaced {
	if len(text)-i < shortest {
		return nil
	}
	list := s.texts[[shortest]byte([]byte(text[i:i+shortest]))]
	for j := range list {
		r := &list[j]
		if strings.HasPrefix(text[i:], r.text) && (!r.word || isWord(text, i, i+len(r.text))) {
			return r
		}
	}
	return nil
}

// isWord reports whether no letter or digit is beside a part of a text.
func isWord(text string, begin, end int) bool {
	return (begin == 0 || !alphanumeric(text[begin-1])) && (end == len(text) || !alphanumeric(text[end]))
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func jsonText(text string) string {
	b, _ := json.Marshal(text) // a string has no error
	return string(b)
}
