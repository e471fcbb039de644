package runner

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"sallyport/sessions/gate/program"
)

// order is what a supervisor starts. The runner passes it in a sealed file.
type order struct {
	Args     []string
	Env      []string
	Dir      string
	Limits   program.Limits
	Listener bool // descriptor 3 of the program is a listening socket
}

// maxOrder is the size of the largest order, in bytes.
const maxOrder = maxPolicy + maxMessage

func (o order) encode() []byte {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // no field can fail
	}
	return text
}

// readOrder reads an order from the begin of a file. It may be called again.
func readOrder(from io.ReaderAt) (o order, err error) {
	if err := json.NewDecoder(io.NewSectionReader(from, 0, maxOrder)).Decode(&o); err != nil {
		return o, fmt.Errorf("read the order: %w", err)
	}
	if len(o.Args) == 0 {
		return o, fmt.Errorf("read the order: no program")
	}
	return o, nil
}

// The commands of a runner to a supervisor, a byte each. When the runner closes the
// connection, the supervisor kills.
const (
	commandTerminate = 't' // send SIGTERM to the program's processes
	commandKill      = 'k' // kill all processes, also those that appear later
)

// reportKind is the first byte of a report, which a supervisor sends to the runner.
type reportKind byte

const (
	reportStarted reportKind = 's' // the program was executed
	reportFailed  reportKind = 'f' // it was not, and why
	reportEnded   reportKind = 'e' // its first process has ended
)

// report is a supervisor's report. When the supervisor closes the connection after
// reportFailed or reportEnded, no process of the run is left.
type report struct {
	kind   reportKind
	pid    uint32 // started
	status uint32 // ended: as of wait(2)
	left   bool   // ended: other processes of the run are left
	err    string // failed
}

// maxReport is the size of the largest report.
const maxReport = 1 + maxError

func (r report) append(b []byte) []byte {
	b = append(b, byte(r.kind))
	switch r.kind {
	case reportStarted:
		b = binary.BigEndian.AppendUint32(b, r.pid)
	case reportEnded:
		b = binary.BigEndian.AppendUint32(b, r.status)
		if r.left {
			return append(b, 1)
		}
		return append(b, 0)
	case reportFailed:
		b = append(b, truncate(r.err, maxError)...)
	}
	return b
}

// parseReport parses a report. The supervisor runs as the user of its program, which
// may be able to change it: the runner checks all of it.
func parseReport(b []byte) (r report, err error) {
	if len(b) == 0 || len(b) > maxReport {
		return r, fmt.Errorf("%w: report of %d bytes", errMessage, len(b))
	}
	r.kind = reportKind(b[0])
	switch {
	case r.kind == reportStarted && len(b) == 5:
		r.pid = binary.BigEndian.Uint32(b[1:])
	case r.kind == reportEnded && len(b) == 6 && b[5] <= 1:
		r.status, r.left = binary.BigEndian.Uint32(b[1:]), b[5] == 1
	case r.kind == reportFailed && len(b) > 1:
		r.err = string(b[1:])
	default:
		return report{}, fmt.Errorf("%w: report %q of %d bytes", errMessage, b[0], len(b))
	}
	return r, nil
}

// truncate returns at most n bytes of a text, and no half character.
func truncate(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
