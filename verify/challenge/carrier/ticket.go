package carrier

// TicketSize is the number of bytes of a ticket: that of package exchange.
const TicketSize = 16

// NewTicket returns the message that carries the ticket of an exchange, in the path of
// the request for a tunnel.
func NewTicket(x Exchange, ticket [TicketSize]byte) (Message, error) {
	return New(Response, x, ticket[:])
}

// Ticket returns the ticket that a message carries, and whether it carries one. No
// response is as short.
func (m *Message) Ticket() (ticket [TicketSize]byte, ok bool) {
	if m.Kind != Response || m.length != TicketSize || !m.Complete() {
		return ticket, false
	}
	return [TicketSize]byte(m.Bytes()), true
}
