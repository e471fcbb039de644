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
func TestCarryCopiesNothing(t *testing.T) { upstreams(t, testCarryCopiesNothing) }

func testCarryCopiesNothing(t *testing.T, back net.Listener) {
	const n = 32 << 20
	front := listen(t, "127.0.0.1:0")
	spliced := carry(t, TCP{}, front, back)
	copied := carried{client: dial(t, front.Addr().String()), middle: accept(t, front)}
	up, err := net.Dial(back.Addr().Network(), back.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	copied.upstream = acceptStream(t, back)
	go io.Copy(struct{ io.Writer }{up}, struct{ io.Reader }{copied.middle})
	for _, way := range []struct {
		name     string
		from, to stream
		copies   bool
	}{
		{"carried to the upstream", spliced.client, spliced.upstream, false},
		{"carried to the client", spliced.upstream, spliced.client, false},
		{"copied", copied.client, copied.upstream, true},
	} {
		before := bytesRead(t)
		transfer(t, way.from, way.to, n)
		// The receiver reads all bytes; a copy in between reads them again.
		if read := bytesRead(t) - before; (read >= n+n/2) != way.copies {
			t.Errorf("%s: %d bytes read for %d", way.name, read, n)
		}
	}
	abort(spliced.client)
	spliced.wait(t)
}

func transfer(t testing.TB, from, to stream, n int64) {
	go io.CopyN(from, endless{}, n)
	if _, err := io.CopyN(io.Discard, struct{ io.Reader }{to}, n); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkCarry alternates between the relay, with each kind of upstream, and a
// direct connection, so that all have the same load, and reports the ratios of their
// times.
func BenchmarkCarry(b *testing.B) {
	const n = 8 << 20
	front, back := listen(b, "127.0.0.1:0"), listen(b, "127.0.0.1:0")
	direct := carried{client: dial(b, back.Addr().String())}
	direct.upstream = accept(b, back)
	all := []carried{direct, carry(b, TCP{}, front, back), carry(b, TCP{}, front, listenUnix(b))}
	spent := make([]time.Duration, len(all))
	for _, ends := range all {
		ends.client.SetDeadline(time.Time{})
		ends.upstream.SetDeadline(time.Time{})
		transfer(b, ends.client, ends.upstream, n) // until the windows are open
	}
	b.SetBytes(int64(len(all)) * n)
	for b.Loop() {
		for i, ends := range all {
			start := time.Now()
			transfer(b, ends.client, ends.upstream, n)
			spent[i] += time.Since(start)
		}
	}
	b.ReportMetric(float64(spent[0])/float64(spent[1]), "relay/direct")
	b.ReportMetric(float64(spent[1])/float64(spent[2]), "unix/tcp")
}
