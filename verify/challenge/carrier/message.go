package carrier

import "fmt"

// Sizes in bytes.
const (
	unit         = 6           // the data in a number of a path; offsets are counted in units
	labelData    = 5 * unit    // the data in a label
	MaxMessage   = 40 * unit   // a request or a response
	exchangeSize = 7           // an Exchange
	headerSize   = 1 + 1       // kind and offset, length
	MaxChallenge = 255 / 4 * 3 // a challenge: as text, it fits in one string of a TXT record
)

// Kind is what a message is, and for whom it opens.
type Kind uint8

// The kinds.
const (
	Request4          Kind = iota // a request from an IPv4 address, to open for that address
	Request6                      // a request from an IPv6 address, to open for that address
	RequestConnection             // a request to open for a connection, from whatever address it comes
	Response                      // the response of any of them

	// NumKinds is the number of kinds.
	NumKinds = int(Response) + 1
)

var kindNames = [NumKinds]string{"request4", "request6", "request-connection", "response"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Reason is why input was refused, or Accepted.
type Reason uint8

// The reasons.
const (
	Accepted Reason = iota // not refused
	Form                   // not a label, a path or a form of this protocol
	Padding                // unused bits are not zero
	Header                 // the length is 0 or above MaxMessage, or the offset is not one of a part of the message
	Order                  // the numbers of a path belong to different messages, or do not ascend
	Size                   // the part is shorter or longer than its header requires

	// NumReasons is the number of reasons, Accepted included.
	NumReasons = int(Size) + 1
)

var reasonNames = [NumReasons]string{"accepted", "form", "padding", "header", "order", "size"}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

// Exchange is the number by which client and server recognise the messages of one
// exchange, whatever address they come from. The client draws it: it must be
// unpredictable and new. It is at most MaxExchange.
type Exchange uint64

// MaxExchange is the highest Exchange.
const MaxExchange Exchange = 1<<(8*exchangeSize) - 1

// Message is a request or a response, or the parts of one that have arrived. The
// zero value has no part.
type Message struct {
	Kind     Kind
	Exchange Exchange
	length   uint8
	have     uint64 // a bit for each unit
	data     [MaxMessage]byte
}

// New returns a complete message.
func New(k Kind, x Exchange, message []byte) (Message, error) {
	switch {
	case int(k) >= NumKinds:
		return Message{}, fmt.Errorf("expected a kind of message up to %d, got %d", NumKinds-1, k)
	case x > MaxExchange:
		return Message{}, fmt.Errorf("expected a number of an exchange up to %d, got %d", MaxExchange, x)
	case len(message) == 0 || len(message) > MaxMessage:
		return Message{}, fmt.Errorf("expected a message of 1 to %d bytes, got %d bytes", MaxMessage, len(message))
	}
	m := Message{Kind: k, Exchange: x, length: uint8(len(message))}
	copy(m.data[:], message)
	m.have = m.all()
	return m, nil
}

// units returns the number of units of the message.
func (m *Message) units() int { return (int(m.length) + unit - 1) / unit }

// all returns the bits of all units.
func (m *Message) all() uint64 { return 1<<m.units() - 1 }

// Complete reports whether all parts have arrived.
func (m *Message) Complete() bool { return m.length > 0 && m.have == m.all() }

// Bytes returns the message, which must be Complete. The bytes belong to m.
func (m *Message) Bytes() []byte { return m.data[:m.length] }

// Merge adds the parts of another Message, and reports whether they belong to the
// same message: if not, m stays as it is. The same part may arrive again, but not
// with other content.
func (m *Message) Merge(from *Message) bool {
	if m.Kind != from.Kind || m.Exchange != from.Exchange || m.length != from.length {
		return false
	}
	for i := range m.units() {
		at := m.data[i*unit : (i+1)*unit]
		if m.have&from.have>>i&1 != 0 && string(at) != string(from.data[i*unit:(i+1)*unit]) {
			return false
		}
	}
	for i := range m.units() {
		if from.have>>i&1 != 0 {
			copy(m.data[i*unit:(i+1)*unit], from.data[i*unit:])
		}
	}
	m.have |= from.have
	return true
}

// part is the header of a label or of a number: a kind, the offset of its data in the
// message, in units, and the length of the message.
type part struct {
	kind   Kind
	offset int
	length int
}

// parsePart parses a header.
func parsePart(b0, b1 byte) (part, Reason) {
	p := part{Kind(b0 >> 6), int(b0 & 63), int(b1)}
	if p.length == 0 || p.length > MaxMessage || p.offset*unit >= p.length {
		return p, Header
	}
	return p, Accepted
}

// append appends the header.
func (p part) append(dst []byte) []byte {
	return append(dst, byte(p.kind)<<6|byte(p.offset), byte(p.length))
}

// begin makes m a message without parts.
func (m *Message) begin(p part, x Exchange) {
	*m = Message{Kind: p.kind, Exchange: x, length: uint8(p.length)}
}

// put adds the data of a part.
func (m *Message) put(p part, data []byte) {
	copy(m.data[p.offset*unit:], data)
	for i := 0; i < len(data); i += unit {
		m.have |= 1 << (p.offset + i/unit)
	}
}
