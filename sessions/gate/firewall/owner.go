package firewall

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Owner identifies the owner of a table. It is written into the table itself,
// so that "nft list ruleset" shows it, and a copy that is saved and loaded
// keeps it.
type Owner struct {
	// Config identifies a configuration of this host, such as by the file's
	// absolute path. A table belongs to the configuration, not to a process.
	Config string
	// Generation identifies the content from which the table was made, such as
	// by a digest of the configuration.
	Generation string
}

// Kind describes the table of our name that the kernel has.
type Kind uint8

// The kinds.
const (
	Absent   Kind = iota
	Owned         // a table with an owner
	Earlier       // a table of an earlier release, which wrote no owner
	Foreign       // a table that sallyportd did not make
	Prepared      // chains of the operator only, to which no packet comes
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
	case Prepared:
		return "prepared"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Standing is the result of Inspect.
type Standing struct {
	Kind  Kind
	Owner Owner // of Owned
	// Intact reports that rules, chains and sets of an Owned table are as its
	// owner made them. It does not concern grants, which come and go.
	Intact bool

	// Chains are the operator's in an Owned or Prepared table: those to which services
	// jump, and others that have rules.
	Chains []Chain
	// Refused is why the kernel refuses the jumps; empty: it does not. The services
	// that jump are then closed.
	Refused string

	made   stamp
	digest string   // of the current content
	hidden []string // chains of an Owned table that hide ports, or more, and not on trial
	tries  bool     // the table has sets that shut what is on trial
}

// Chain is a chain of the operator.
type Chain struct {
	Name  string
	Rules int
	Lost  bool // it does not exist
}

// OwnedError means that the table has another owner, or that sallyportd did not
// make it.
type OwnedError struct {
	Kind  Kind  // Owned or Foreign
	Owner Owner // of Owned
}

func (e *OwnedError) Error() string {
	if e.Kind == Owned {
		return fmt.Sprintf("the table inet %s belongs to the configuration %s", Name, e.Owner.Config)
	}
	return fmt.Sprintf("the table inet %s exists, and sallyportd did not make it", Name)
}

// stamp is the time at which a table was made. It distinguishes a table that a
// process has just made from a copy that was saved before.
type stamp struct {
	boot string        // of the kernel
	at   time.Duration // since the boot, including suspension
}

// ownership is the description that the table contains of itself.
type ownership struct {
	owner   Owner
	made    stamp
	content string // digest of rules, chains and sets, without this description
	jumps   string // names of the operator's chains; empty: the table has none
	refused string // why no service jumps there; empty: they do
}

// format is the first line of a description.
const format = "sallyport table, format 2"

// maxComment is the number of bytes of a value in one line. nft accepts 128 for
// a comment.
const maxComment = 96

// lines returns the description as comments, each of which nft prints and reads
// again.
func (m ownership) lines() []string {
	lines := []string{format}
	fields := [][2]string{
		{"config", m.owner.Config}, {"generation", m.owner.Generation},
		{"made", m.made.boot + "/" + strconv.FormatInt(int64(m.made.at), 10)}, {"content", m.content},
	}
	if m.jumps != "" {
		fields = append(fields, [2]string{"jumps", m.jumps}, [2]string{"refused", m.refused})
	}
	for _, field := range fields {
		value := escape(field[1])
		for first := true; first || value != ""; first = false {
			n := min(len(value), maxComment)
			lines = append(lines, field[0]+" "+value[:n])
			value = value[n:]
		}
	}
	return lines
}

// parseOwnership is the inverse of lines. If a copy was loaded over the table,
// the lines of another description follow; they are ignored.
func parseOwnership(lines []string) (m ownership, ok bool) {
	if len(lines) == 0 || lines[0] != format {
		return ownership{}, false
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
	m.jumps, m.refused = unescape(fields["jumps"]), unescape(fields["refused"])
	boot, at, _ := strings.Cut(unescape(fields["made"]), "/")
	if n, err := strconv.ParseInt(at, 10, 64); err == nil {
		m.made = stamp{boot, time.Duration(n)}
	}
	return m, true
}

// escape replaces spaces, and bytes that nft or its JSON cannot print and read
// again, by a percent sign and two hexadecimal digits.
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
