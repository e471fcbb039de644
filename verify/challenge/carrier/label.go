package carrier

// MaxLabel is the number of characters of the longest label, all that DNS permits.
const MaxLabel = ((labelHead+labelData)*8 + 4) / 5

const labelHead = headerSize + exchangeSize

// Labels returns the number of labels in which the message fits: each is one query.
func (m *Message) Labels() int { return (int(m.length) + labelData - 1) / labelData }

// AppendLabel appends label i of a complete message: 0 to Labels()-1.
func (m *Message) AppendLabel(dst []byte, i int) []byte {
	var buffer [labelHead + labelData]byte
	b := part{m.Kind, i * (labelData / unit), int(m.length)}.append(buffer[:0])
	b = append(m.Exchange.append(b), m.data[i*labelData:min((i+1)*labelData, int(m.length))]...)
	return base32.append(dst, b)
}

// ParseLabel parses a label, in any case of its letters. If it is Accepted, m is the
// part that it carries.
func (m *Message) ParseLabel(label []byte) Reason {
	if len(label) > MaxLabel {
		return Form
	}
	var buffer [labelHead + labelData]byte
	b, reason := base32.parse(buffer[:0], label)
	switch {
	case reason != Accepted:
		return reason
	case len(b) <= labelHead:
		return Form
	}
	p, reason := parsePart(b[0], b[1])
	data := b[labelHead:]
	switch {
	case reason != Accepted:
		return reason
	case p.offset%(labelData/unit) != 0:
		return Header
	case len(data) != min(labelData, p.length-p.offset*unit):
		return Size
	}
	m.begin(p, exchangeOf(b[headerSize:]))
	m.put(p, data)
	return Accepted
}
