package daemon

import (
	"slices"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
)

// TestSequencesInterleaved: sequences of one client to several addresses of the server, of
// both families, arrive interleaved and the last first. Each opens for its own source. (Of
// two sources of one family, the newer may replace the other while that is recorded.)
func TestSequencesInterleaved(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, func(s *setup) { s.web = "open_for = \"1h\"\nopen_max = \"1h\"" })
	paths := [][2]string{{"198.51.100.2", server4}, {"2001:db8::2", server6}, {"198.51.100.2", server4}}
	var sequences [][]client.Packet
	for i := range paths {
		packets, err := client.Sequence(w.profile("com1", server4), w.clock.Now(), uint32(10+3*i))
		if err != nil {
			t.Fatal(err)
		}
		sequences = append(sequences, packets)
	}
	arrived := func() (n uint64) {
		for _, of := range w.server.sessions.Stats() {
			n += of
		}
		return n
	}
	var sent uint64
	for i := range sequences[0] {
		for j := range slices.Backward(paths) {
			w.send(t, paths[j][0], paths[j][1], sequences[j][i:i+1])
			sent++
			w.until(t, "a knock", func() bool { return arrived() >= sent })
		}
	}
	want := []string{"198.51.100.2/32", "2001:db8::2/128"}
	w.until(t, "both leases", func() bool {
		var got []string
		for _, l := range w.server.gate.Leases() {
			got = append(got, l.Peer.String())
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
	for _, to := range []string{server4, server6} {
		if status, err := w.get(to, "/test1.html"); err != nil || status != 200 {
			t.Errorf("at %s: %d, %v", to, status, err)
		}
	}
}
