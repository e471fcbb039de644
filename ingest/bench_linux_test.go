package ingest

import (
	"net/netip"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/panjf2000/ants/v2"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/udp"
	"sallyport/verify"
	"sallyport/verify/schedule"
)

type blackHole struct{}

func (blackHole) Deliver(verify.Knock, netip.Addr) {}

// BenchmarkHandOver compares checking batches in a pool's task, as shards do,
// with checking them in the reader itself, with and without work for an HMAC.
// Meant for -cpu 1: then only the hand-over differs.
func BenchmarkHandOver(b *testing.B) {
	bad := knock(b, minute, 0, 0)
	bad[47] ^= 1
	for _, row := range []struct {
		name     string
		datagram []byte
	}{{"magic=bad", make([]byte, 48)}, {"mac=bad", bad}} {
		b.Run("checked-in=pool/"+row.name, func(b *testing.B) { handOver(b, row.datagram, (*shard).pushAndRetry) })
		b.Run("checked-in=reader/"+row.name, func(b *testing.B) { handOver(b, row.datagram, (*shard).checkInReader) })
	}
}

func (s *shard) pushAndRetry(b *batch) *batch {
	for !s.push(b) {
		runtime.Gosched()
	}
	return s.next()
}

func (s *shard) checkInReader(b *batch) *batch {
	s.check(b)
	return b
}

func handOver(b *testing.B, datagram []byte, next func(*shard, *batch) *batch) {
	pool, err := ants.NewPool(2, ants.WithPreAlloc(true), ants.WithDisablePurge(true))
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Release()
	sh := newShard(pool, settingsOf(b, 1), blackHole{}, func() time.Time { return minute.Start().Add(30 * time.Second) }, DefaultQueue)
	places := []schedule.Place{{Minute: minute, Index: 0}}
	current := sh.next()
	b.ReportAllocs()
	for b.Loop() {
		for i := range batchSize {
			current.places[i] = places
			current.sizes[i] = uint8(copy(current.data[i][:], datagram))
		}
		current.n = batchSize
		current = next(sh, current)
	}
	sh.wait()
	packets := float64(b.N) * batchSize
	b.ReportMetric(float64(b.Elapsed())/packets, "ns/pkt")
	b.ReportMetric(packets/b.Elapsed().Seconds(), "pkts/s")
}

// BenchmarkReceive measures the reader alone: 64 datagrams from a socket into
// a batch, in one call of the kernel.
func BenchmarkReceive(b *testing.B) {
	sockets := [2]int{}
	for i := range sockets {
		fd, err := udp.Socket{}.Open(netip.AddrPortFrom(loop4, 0))
		if err != nil {
			b.Fatal(err)
		}
		defer unix.Close(fd)
		sockets[i] = fd
	}
	to, err := unix.Getsockname(sockets[0])
	if err != nil {
		b.Fatal(err)
	}
	src, err := newSocketSource()
	if err != nil {
		b.Fatal(err)
	}
	defer src.close()
	// As many batches as a shard has, by turns.
	batches, datagram := make([]batch, ringSize(DefaultQueue)+ownBatches), make([]byte, 48)
	b.ReportAllocs()
	for next := 0; b.Loop(); next = (next + 1) % len(batches) {
		b.StopTimer()
		for range batchSize {
			if err := unix.Sendto(sockets[1], datagram, 0, to); err != nil {
				b.Fatal(err)
			}
		}
		batch := &batches[next]
		batch.n = 0
		b.StartTimer()
		for batch.n < batchSize {
			if err := src.recvInto(sockets[0], nil, batch); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/batchSize, "ns/pkt")
}

// TestProfilesLabelTheStages stops a datagram in each stage, and reads the
// labels of the goroutines.
func TestProfilesLabelTheStages(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	blocked := make(sink) // Deliver blocks
	var slow atomic.Bool
	release := make(chan struct{})
	s := startWith(t, 1, func(c *Config) {
		c.Sink = blocked
		now := c.Now
		c.Now = func() time.Time {
			if slow.Load() {
				<-release
			}
			return now()
		}
	}, loop4)
	seen := func(stage string) func() bool {
		return func() bool {
			var text strings.Builder
			if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
				t.Fatal(err)
			}
			return strings.Contains(text.String(), `"stage":"`+stage+`"`)
		}
	}
	netns.Until(t, "a reader", seen("reader"))
	ports, _ := portsOf(1)(minute)
	send(t, loop4, ports[0], knock(t, minute, 0, 0))
	netns.Until(t, "an HMAC", seen("hmac"))
	slow.Store(true)
	<-blocked
	send(t, loop4, ports[0], knock(t, minute, 0, 0))
	netns.Until(t, "a check", seen("check"))
	close(release)
	<-blocked
	s.stop()
}
