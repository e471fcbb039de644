package holder

import (
	"context"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/sessions/clock"
)

// TestSandboxOfAnEarlierRelease: a holder that does not know the question refuses it, and
// serves. The text of one that knows it is bounded.
func TestSandboxOfAnEarlierRelease(t *testing.T) {
	long := make([]byte, 2*maxSandbox)
	for name, test := range map[string]struct {
		answers []byte
		want    int
	}{
		"earlier": {refusal(os.ErrInvalid), 0},
		"present": {(&session{Config: Config{Sandbox: []byte("{}")}}).sandboxReply(), 2},
		"empty":   {(&session{}).sandboxReply(), 0},
		"long":    {(&session{Config: Config{Sandbox: long}}).sandboxReply(), maxSandbox},
	} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ends := [2]net.Conn{}
		for i, fd := range pair {
			f := os.NewFile(uintptr(fd), name)
			if ends[i], err = net.FileConn(f); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		asked := make(chan kind, 3)
		go func() {
			b := make([]byte, maxRequest)
			for _, reply := range [][]byte{{byte(answerReady), Version}, test.answers, results(nil)} {
				n, err := ends[1].Read(b)
				if err != nil || n == 0 {
					break
				}
				asked <- kind(b[0])
				ends[1].Write(reply)
			}
			close(asked)
		}()
		c := NewDialingConn(func(context.Context) (net.Conn, error) { return ends[0], nil }, clock.System())
		if err := c.Begin(t.Context(), Digest{1}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := c.Sandbox(); len(got) != test.want {
			t.Errorf("%s: %d bytes, want %d", name, len(got), test.want)
		}
		if _, err := c.Reread(nil); err != nil { // it serves
			t.Errorf("%s: the next request: %v", name, err)
		}
		var all []kind
		for k := range asked {
			all = append(all, k)
		}
		if len(all) != 3 || all[0] != kindBegin || all[1] != kindSandbox || all[2] != kindReread {
			t.Errorf("%s: asked %v", name, all)
		}
		c.fail(nil)
		ends[1].Close()
	}
	if c := NewDialingConn(nil, clock.System()); c.Sandbox() != nil {
		t.Error("without a holder")
	}
}
