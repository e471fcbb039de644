package carrier

// The body of a POST: one field of a form.
const (
	// FormType is the media type of the body.
	FormType = "application/x-www-form-urlencoded"

	field    = "q="
	formHead = 1 + exchangeSize // kind, exchange

	// MaxForm is the number of bytes of the longest body.
	MaxForm = len(field) + ((formHead+MaxMessage)*8+5)/6
)

// AppendForm appends the body of a POST with a complete message.
func (m *Message) AppendForm(dst []byte) []byte {
	var buffer [formHead + MaxMessage]byte
	b := m.Exchange.append(append(buffer[:0], byte(m.Kind)<<6))
	return base64.append(append(dst, field...), append(b, m.Bytes()...))
}

// ParseForm parses the body of a POST. If it is Accepted, m is the message, complete.
func (m *Message) ParseForm(body []byte) Reason {
	if len(body) > MaxForm || len(body) < len(field) || string(body[:len(field)]) != field {
		return Form
	}
	var buffer [formHead + MaxMessage]byte
	b, reason := base64.parse(buffer[:0], body[len(field):])
	switch {
	case reason != Accepted:
		return reason
	case len(b) <= formHead:
		return Form
	case b[0]&63 != 0:
		return Header
	}
	p := part{kind: Kind(b[0] >> 6), length: len(b) - formHead}
	m.begin(p, exchangeOf(b[1:]))
	m.put(p, b[formHead:])
	return Accepted
}
