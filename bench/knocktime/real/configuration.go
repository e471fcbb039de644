package real

import (
	"fmt"
	"strings"

	"sallyport/bench/knocktime"
	"sallyport/bench/knocktime/line"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// configuration is what differs between the servers that are measured.
type configuration struct {
	request, response challenge.Encoding
	algorithm         exchange.Algorithm
	shared            bool // both messages use the same ports
}

// The operation of all servers. Its ID has the 10 bytes that the paper assumes. Its
// secret need not be secret: only the networks created here reach the server.
const (
	operationID = "open-port2"
	secret      = "floodbench floodbench floodbench"
	servicePort = 22
)

// firstPort is the lowest port of an encoding, above the system ports, if the rest
// fits above it.
const firstPort = 1024

// encodings returns the encodings of a row; if the paper has more sequence bits than
// the messages require, also with those of the paper.
func encodings(r knocktime.Row) []challenge.Encoding {
	all := r.Encodings()
	if r.Table == 1 && r.Paper.SequenceBits != all[0].SequenceBits {
		e := all[0]
		e.SequenceBits = r.Paper.SequenceBits
		all = append(all, e)
	}
	return all
}

// layouts returns the configurations of an encoding for both messages, in the order in
// which to try them: each message with its own ports, from firstPort or from 1; then
// both with the same ports.
func layouts(e challenge.Encoding, a exchange.Algorithm) (all []configuration) {
	for _, shared := range []bool{false, true} {
		for _, base := range []uint16{firstPort, 1} {
			c := configuration{request: e, response: e, algorithm: a, shared: shared}
			c.request.Base, c.response.Base = base, base
			// check rejects a configuration with too many ports.
			codec, err := c.request.Codec(c.requestBytes())
			if err == nil && !shared && int(codec.Last())+1 < 1<<16 {
				c.response.Base = codec.Last() + 1
			}
			all = append(all, c)
		}
	}
	return all
}

// requestBytes returns the size of a request over IPv4.
func (c configuration) requestBytes() int {
	o, err := exchange.NewOperation(operationID, secret, c.algorithm, false)
	if err != nil {
		return 0
	}
	return o.RequestSize(false)
}

// exchange returns what a prediction has to know.
func (c configuration) exchange() line.Exchange {
	return line.NewExchange(c.request, c.requestBytes(), exchange.ResponseSize)
}

// ports returns the ports of both messages, or nearly all where the codec has none.
func (c configuration) ports() (first, last uint16) {
	in, err1 := c.request.Codec(c.requestBytes())
	out, err2 := c.response.Codec(exchange.ResponseSize)
	if err1 != nil || err2 != nil {
		return 1, 1<<16 - 1
	}
	return min(in.First(), out.First()), max(in.Last(), out.Last())
}

// text returns the file. Everything else has its default, except that a lease is as
// short as possible, so that an address can knock again.
func (c configuration) text() string {
	var b strings.Builder
	first, last := c.ports()
	fmt.Fprintf(&b, `version = 1
server = %q
listen = ["0.0.0.0"]
ports = 1
port_secret_file = "port_secret"
clients = "clients.txt"
durability = "relaxed"
[[service]]
name = "ssh"
type = "firewall"
listen = "0.0.0.0:%d"
open_for = "1s"
open_max = "1s"
[[operation]]
id = %q
secret = %q
service = "ssh"
algorithm = %d
[challenge]
ports = "%d-%d"
`, serverName, servicePort, operationID, secret, c.algorithm, first, last)
	if c.shared {
		b.WriteString("shared_ports = true\n")
	}
	writeEncoding(&b, "request", c.request)
	writeEncoding(&b, "response", c.response)
	return b.String()
}

func writeEncoding(b *strings.Builder, message string, e challenge.Encoding) {
	fmt.Fprintf(b, "[challenge.%s]\nscheme = %q\nbase = %d\ndata_bits = %d\n", message, e.Scheme, e.Base, e.DataBits)
	if e.SequenceBits != 0 {
		fmt.Fprintf(b, "sequence_bits = %d\n", e.SequenceBits)
	}
	if e.Restart != 0 {
		fmt.Fprintf(b, "restart = %d\n", e.Restart)
	}
	if e.Scheme == challenge.Delays {
		fmt.Fprintf(b, "delay = %q\n", e.Delay)
	}
}

// serverName is a name that a profile has in place of a lane's address.
const serverName = "lane.example"
