package relay

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// bytesRead returns the number of bytes that the process has read with read(2)
// and similar calls, see proc(5). It does not include splice(2).
func bytesRead(t *testing.T) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skipf("the kernel does not count what is read: %v", err)
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "rchar: %d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("no count in %q", b)
	return 0
}

// TestCarryCopiesNothing: with splice(2), the bytes do not pass through the
// process's memory. The same transfer through a copy shows that the test would
// detect one.
func TestCarryCopiesNothing(t *testing.T) {
	const n = 32 << 20
	front, back := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	spliced := carry(t, TCP{}, front, back)
	copied := carried{client: dial(t, front.Addr().String()), middle: accept(t, front)}
	up := dial(t, back.Addr().String())
	copied.upstream = accept(t, back)
	go io.Copy(struct{ io.Writer }{up}, struct{ io.Reader }{copied.middle})
	for _, way := range []struct {
		name   string
		ends   carried
		copies bool
	}{{"carried", spliced, false}, {"copied", copied, true}} {
		before := bytesRead(t)
		transfer(t, way.ends.client, way.ends.upstream, n)
		// The receiver reads all bytes; a copy in between reads them again.
		if read := bytesRead(t) - before; (read >= n+n/2) != way.copies {
			t.Errorf("%s: %d bytes read for %d", way.name, read, n)
		}
	}
	abort(spliced.client)
	spliced.wait(t)
}

func transfer(t testing.TB, from, to *net.TCPConn, n int64) {
	go io.CopyN(from, endless{}, n)
	if _, err := io.CopyN(io.Discard, struct{ io.Reader }{to}, n); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkCarry alternates between the relay and a direct connection, so that
// both have the same load, and reports the ratio of their times.
func BenchmarkCarry(b *testing.B) {
	const n = 8 << 20
	front, back := listen(b, "127.0.0.1:0"), listen(b, "127.0.0.1:0")
	through := carry(b, TCP{}, front, back)
	direct := carried{client: dial(b, back.Addr().String())}
	direct.upstream = accept(b, back)
	var spent [2]time.Duration
	for _, ends := range []carried{direct, through} {
		ends.client.SetDeadline(time.Time{})
		ends.upstream.SetDeadline(time.Time{})
		transfer(b, ends.client, ends.upstream, n) // until the windows are open
	}
	b.SetBytes(2 * n)
	for b.Loop() {
		for i, ends := range []carried{direct, through} {
			start := time.Now()
			transfer(b, ends.client, ends.upstream, n)
			spent[i] += time.Since(start)
		}
	}
	b.ReportMetric(float64(spent[0])/float64(spent[1]), "relay/direct")
}
