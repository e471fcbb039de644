package runner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"sallyport/sessions/gate/program"
)

// The messages between server and runner, each a message of a SOCK_SEQPACKET socket.
//
//	runner -> server   hello   version, digest of the policy; once
//	                   ended   run, lines dropped since the start, why; empty: exit code 0
//	server -> runner   begin   version, mark of the server's instance; once, first; with
//	                           the descriptor of the instance's lock, if there is one
//	                   start   run, service, role, variables; with the listener's
//	                           descriptor, if the program inherits one
//	                   stop    run
//
// A run has the number that the server gives it, never twice.
type kind uint8

const (
	kindHello kind = iota + 1
	kindEnded
	kindBegin
	kindStart
	kindStop
)

// Version is the version of the messages. The first message of each end has it in its
// second byte, in every version.
const Version = 2

const (
	// maxMessage is the size of the largest message: a start with all variables.
	maxMessage = 8 << 10
	// maxError is the size of the largest error text, in bytes. A longer one is cut.
	maxError = 512
	// markSize is the size of the mark of an instance.
	markSize = 16
)

// ErrOtherRelease means that the other end has another version of the messages.
var ErrOtherRelease = errors.New("the runner is of another release")

var errMessage = errors.New("malformed message")

// message is any message. Fields that the kind does not have are zero.
type message struct {
	kind    kind
	digest  Digest         // hello
	mark    [markSize]byte // begin
	run     uint32
	program program.ID // start
	env     []string   // start
	dropped uint64     // ended
	err     string     // ended
}

// append appends a message. Texts that are too long are cut: the check of a request
// comes before.
func (m message) append(b []byte) []byte {
	b = append(b, byte(m.kind))
	switch m.kind {
	case kindHello:
		return append(append(b, Version), m.digest[:]...)
	case kindBegin:
		return append(append(b, Version), m.mark[:]...)
	}
	b = binary.BigEndian.AppendUint32(b, m.run)
	switch m.kind {
	case kindStart:
		b = appendText(b, m.program.Service)
		b = appendText(b, string(m.program.Role))
		for _, pair := range m.env {
			b = appendText(b, pair)
		}
	case kindEnded:
		b = binary.BigEndian.AppendUint64(b, m.dropped)
		b = append(b, truncate(m.err, maxError)...)
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
}

// parse parses a message of one of the kinds that this end accepts. It does not
// retain b.
func parse(b []byte, accepted ...kind) (m message, err error) {
	if len(b) < 2 || len(b) > maxMessage {
		return m, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	m.kind = kind(b[0])
	if (m.kind == kindHello || m.kind == kindBegin) && b[1] != Version {
		return m, fmt.Errorf("%w: expected version %d of the messages, got %d", ErrOtherRelease, Version, b[1])
	}
	known := false
	for _, k := range accepted {
		known = known || k == m.kind
	}
	if !known {
		return message{}, fmt.Errorf("%w: unexpected kind %d", errMessage, b[0])
	}
	r := reader{b[1:], false}
	switch m.kind {
	case kindHello:
		r.take(1)
		copy(m.digest[:], r.take(len(m.digest)))
	case kindBegin:
		r.take(1)
		copy(m.mark[:], r.take(len(m.mark)))
	case kindStop:
		m.run = r.uint32()
	case kindEnded:
		m.run, m.dropped = r.uint32(), r.uint64()
		m.err = string(r.take(min(len(r.rest), maxError)))
	case kindStart:
		m.run = r.uint32()
		m.program = program.ID{Service: r.text(), Role: program.Role(r.text())}
		for len(r.rest) > 0 && !r.short {
			m.env = append(m.env, r.text())
		}
	}
	if r.short || len(r.rest) > 0 {
		return message{}, fmt.Errorf("%w of kind %d", errMessage, b[0])
	}
	return m, nil
}

// reader reads fields. Short is set if the bytes end too early.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if len(r.rest) < n {
		r.rest, r.short = nil, true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) text() string {
	b := r.take(2)
	if b == nil {
		return ""
	}
	return string(r.take(int(binary.BigEndian.Uint16(b))))
}

// clean returns a text as a log or a terminal may show it: one line, without control
// characters.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
