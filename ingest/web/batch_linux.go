package web

import (
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"sallyport/ingest/udp"
)

// receiveBuffer is the size of a socket's queue in bytes: some milliseconds of a flood.
const receiveBuffer = 2 << 20

// batch reads queries, and sends their answers, with a system call for many. Its memory is
// allocated when it is made. It belongs to one goroutine. Queries are valid until the next
// receive.
type batch struct {
	raw syscall.RawConn

	in      *udp.Messages
	names   [udp.BatchSize]udp.Name
	control [udp.BatchSize][controlSize]byte
	queries [udp.BatchSize][maxQuery]byte

	out     *udp.Outgoing
	answers [udp.BatchSize][]byte
	waiting int // answers that have not been sent

	received int
	err      error
	read     func(fd uintptr) bool
	write    func(fd uintptr) bool
}

func newBatch(s *net.UDPConn) (*batch, error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &batch{raw: raw, in: udp.NewMessages(), out: udp.NewOutgoing()}
	for i := range b.queries {
		b.in.Into(i, b.queries[i][:], &b.names[i])
		b.in.Control(i, b.control[i][:])
		b.answers[i] = make([]byte, 0, maxUDP)
	}
	b.read, b.write = b.readOnce, b.writeAll
	return b, nil
}

// receive waits for queries, and returns their number.
func (b *batch) receive() (int, error) {
	if err := b.raw.Read(b.read); err != nil {
		return 0, err
	}
	return b.received, os.NewSyscallError("recvmmsg", b.err)
}

func (b *batch) readOnce(fd uintptr) (done bool) {
	b.received, b.err = b.in.Receive(int(fd), 0)
	return b.err != unix.EAGAIN && b.err != unix.EINTR
}

// query returns query i; nil: it was longer than maxQuery.
func (b *batch) query(i int) []byte {
	if b.in.Truncated(i) {
		return nil
	}
	return b.queries[i][:b.in.Len(i)]
}

// source returns the address that query i came from.
func (b *batch) source(i int) netip.Addr { return b.names[i].Addr() }

// room returns memory for the next answer.
func (b *batch) room() []byte { return b.answers[b.waiting][:0] }

// answer adds the answer to query i, which comes from the query's destination.
func (b *batch) answer(i int, answer []byte) {
	b.answers[b.waiting] = answer
	b.out.Set(b.waiting, answer, &b.names[i], answerFrom(b.control[i][:b.in.ControlLen(i)]))
	b.waiting++
}

// send sends the answers. An answer that the kernel does not send is lost, like others.
func (b *batch) send() {
	if b.waiting > 0 {
		b.raw.Write(b.write)
		b.waiting = 0
	}
}

func (b *batch) writeAll(fd uintptr) (done bool) {
	b.out.Send(int(fd), b.waiting)
	return true
}

// setReceiveBuffer sets the size of a socket's queue, beyond the limit of the host if this
// process may, and else up to it.
func setReceiveBuffer(s *net.UDPConn) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { _, failed = udp.SetBuffer(int(fd), receiveBuffer) })
	if err != nil {
		return err
	}
	return failed
}
