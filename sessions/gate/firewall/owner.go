package firewall

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Owner says whose the table is. It is written into the table itself, so that
// "nft list ruleset" shows it, and a saved and loaded copy keeps it.
type Owner struct {
	// Config tells configurations of one host apart, such as the file's absolute
	// path. A table belongs to the configuration, not to a process.
	Config string
	// Generation says what the table was made from, such as a digest of the
	// configuration's content.
	Generation string
}

// Kind is what stands in the kernel under our name.
type Kind uint8

// The kinds.
const (
	Absent  Kind = iota
	Owned        // a table with an owner
	Earlier      // a table that an earlier release has made, which wrote no owner
	Foreign      // a table that is not ours
)

func (k Kind) String() string {
	switch k {
	case Absent:
		return "absent"
	case Owned:
		return "owned"
	case Earlier:
		return "of an earlier release"
	case Foreign:
		return "foreign"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Standing is what Inspect has found in the kernel.
type Standing struct {
	Kind  Kind
	Owner Owner // of Owned
	// Intact reports that rules, chains and sets of an Owned table are what its
	// owner made. It says nothing of grants, which come and go.
	Intact bool

	made   stamp
	digest string // of its content, as it is
}

// OwnedError refuses a table that is another owner's, or not ours at all.
type OwnedError struct {
	Kind  Kind  // Owned or Foreign
	Owner Owner // of Owned
}

func (e *OwnedError) Error() string {
	if e.Kind == Owned {
		return fmt.Sprintf("the table inet %s belongs to the configuration %s", Name, e.Owner.Config)
	}
	return fmt.Sprintf("there is a table inet %s that sallyportd has not made", Name)
}

// stamp is when a table was made: it tells a table that a process has just made
// from a copy that was saved before.
type stamp struct {
	boot string        // of the kernel
	at   time.Duration // since then, suspension included
}

// mark is what the table says of itself.
type mark struct {
	owner   Owner
	made    stamp
	content string // digest of rules, chains and sets
}

// format is what the first line of a mark says.
const format = "sallyport table, format 2"

// maxComment is how many bytes of a value a line has. nft takes 128 for a comment.
const maxComment = 96

// lines writes the mark as comments, each of which nft prints and reads again.
func (m mark) lines() []string {
	lines := []string{format}
	for _, field := range [][2]string{
		{"config", m.owner.Config}, {"generation", m.owner.Generation},
		{"made", m.made.boot + "/" + strconv.FormatInt(int64(m.made.at), 10)}, {"content", m.content},
	} {
		value := escape(field[1])
		for first := true; first || value != ""; first = false {
			n := min(len(value), maxComment)
			lines = append(lines, field[0]+" "+value[:n])
			value = value[n:]
		}
	}
	return lines
}

// parseMark reads what lines has written. What follows is another mark, if a copy
// was loaded over the table: it does not count.
func parseMark(lines []string) (m mark, ok bool) {
	if len(lines) == 0 || lines[0] != format {
		return mark{}, false
	}
	fields := map[string]string{}
	for _, line := range lines[1:] {
		if line == format {
			break
		}
		name, value, _ := strings.Cut(line, " ")
		fields[name] += value
	}
	m.owner = Owner{Config: unescape(fields["config"]), Generation: unescape(fields["generation"])}
	m.content = unescape(fields["content"])
	boot, at, _ := strings.Cut(unescape(fields["made"]), "/")
	if n, err := strconv.ParseInt(at, 10, 64); err == nil {
		m.made = stamp{boot, time.Duration(n)}
	}
	return m, true
}

// escape writes what nft, or its JSON, could not print and read again, and
// spaces, as percent signs and two digits.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '%' || c == '\\' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
