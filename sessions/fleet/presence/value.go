package presence

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sallyport/sessions/fleet/cluster"
)

// Info is the value of a gateway's key.
type Info struct {
	Instance uint64        // of the state directory: random, the same after a restart
	Run      uint64        // of the process: random
	Release  string        // of Sallyport
	Started  time.Time     // in whole seconds
	Written  time.Time     // when this value was sent, by the gateway's clock, in milliseconds
	Took     time.Duration // of the write before this one, in milliseconds
	Expires  time.Time     // of the gateway's certificate for etcd, in seconds; zero: it has none
	Parts    []Part        // of the configuration
}

// Part is a part of the configuration that should be the same at all gateways.
type Part struct {
	Name   string
	Digest uint64 // see Digest
}

const (
	version    = 1
	header     = "sallyport gateway "
	maxValue   = 2048
	maxRelease = 64
	maxParts   = 16
	maxPart    = 32
	maxTime    = 1 << 50 // of milliseconds
)

// Limits of a fleet.
const (
	MaxGateways = 128 // that are read
	MaxName     = 64
)

// firstLine is the first line of a value.
var firstLine = header + strconv.Itoa(version)

var errVersion = errors.New("the value is of another release")

// Append appends the value of a key.
func (i Info) Append(b []byte) []byte {
	b = fmt.Appendf(b, "%s\ninstance %016x\nrun %016x\nrelease %s\nstarted %d\nwritten %d\ntook %d\nexpires %d\n",
		firstLine, i.Instance, i.Run, i.Release, seconds(i.Started), i.Written.UnixMilli(), i.Took.Milliseconds(), seconds(i.Expires))
	for _, p := range i.Parts {
		b = fmt.Appendf(b, "part %s %016x\n", p.Name, p.Digest)
	}
	return b
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// Parse reads the value of a key. It accepts what Append writes, and nothing else.
func Parse(value []byte) (i Info, err error) {
	if len(value) > maxValue {
		return i, fmt.Errorf("the value has %d bytes, at most %d are allowed", len(value), maxValue)
	}
	first, rest, _ := strings.Cut(string(value), "\n")
	if first != firstLine {
		later, err := strconv.ParseUint(strings.TrimPrefix(first, header), 10, 16)
		if err == nil && strings.HasPrefix(first, header) && later > version {
			return i, cluster.CheckVersion(int(later), version)
		}
		return i, errVersion
	}
	var fields [7]string
	for n, key := range []string{"instance ", "run ", "release ", "started ", "written ", "took ", "expires "} {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		var ok bool
		if fields[n], ok = strings.CutPrefix(line, key); !ok {
			return i, fmt.Errorf("line %d: expected %q", n+2, key)
		}
	}
	var n numbers
	i = Info{
		Instance: n.hex(fields[0]), Run: n.hex(fields[1]), Release: fields[2], Started: time.Unix(n.decimal(fields[3]), 0),
		Written: time.UnixMilli(n.decimal(fields[4])), Took: time.Duration(n.decimal(fields[5])%(1<<32)) * time.Millisecond,
	}
	if s := n.decimal(fields[6]); s != 0 {
		i.Expires = time.Unix(s, 0)
	}
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		name, digest, _ := strings.Cut(strings.TrimPrefix(line, "part "), " ")
		if !isWord(name, maxPart) || len(i.Parts) == maxParts {
			return i, errors.New("a part has no valid name, or there are too many")
		}
		i.Parts = append(i.Parts, Part{name, n.hex(digest)})
	}
	switch {
	case n.err != nil:
		return i, n.err
	case !isWord(i.Release, maxRelease):
		return i, errors.New("the release is not valid")
	case !bytes.Equal(i.Append(nil), value):
		return i, errors.New("the value is not in its canonical form")
	}
	return i, nil
}

// numbers parses numbers until one is not valid.
type numbers struct{ err error }

func (n *numbers) hex(text string) uint64 {
	v, err := strconv.ParseUint(text, 16, 64)
	n.err = errors.Join(n.err, err)
	return v
}

func (n *numbers) decimal(text string) int64 {
	v, err := strconv.ParseInt(text, 10, 64)
	if err == nil && (v < 0 || v > maxTime) {
		err = errors.New("a number is too large, or negative")
	}
	n.err = errors.Join(n.err, err)
	return v
}

// isWord reports whether a text has 1 to limit visible characters of ASCII.
func isWord(text string, limit int) bool {
	return text != "" && len(text) <= limit && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Word returns a release as a value may have it.
func Word(text string) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, text)
	if text == "" {
		return "unknown"
	}
	return text[:min(len(text), maxRelease)]
}
