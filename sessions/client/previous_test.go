package client

import (
	"testing"
	"time"

	"sallyport/verify"
	"sallyport/verify/schedule"
)

// TestPreviousMinuteIsAccepted: a server accepts a sequence to the previous minute's
// ports in each second, whatever the tolerance and the clocks are.
func TestPreviousMinuteIsAccepted(t *testing.T) {
	p := profile()
	start := schedule.MinuteOf(now).Start()
	clients, err := verify.NewKeyTable([]verify.Key{{Identifier: p.Identifier, Secret: p.Secret}})
	if err != nil {
		t.Fatal(err)
	}
	accepted := map[int]int{} // seconds in which clocks that agree suffice, by tolerance
	for _, tolerance := range []int{5, 30, 60} {
		v := verify.New(verify.Rules{Table: clients, Ports: p.Ports, Tolerance: time.Duration(tolerance) * time.Second})
		for second := range 60 {
			for ahead := -70; ahead <= 70; ahead++ {
				client := start.Add(time.Duration(second) * time.Second)
				server := client.Add(-time.Duration(ahead) * time.Second)
				k := &knocking{cfg: Config{Profile: p, Now: func() time.Time { return client }}, minute: schedule.MinuteOf(client)}
				stamp, ok := k.previousMinute()
				if !ok {
					t.Fatal("the last attempt was in this minute")
				}
				knocks, err := Sequence(p, stamp, 7)
				if err != nil {
					t.Fatal(err)
				}
				places := placesAt(t, p, server, time.Duration(tolerance)*time.Second)
				_, reason := v.Verify(knocks[1].Datagram, places[knocks[1].Port], server.Unix())
				difference := ahead - second - 1
				if want := difference >= -tolerance && difference <= tolerance; want != (reason == verify.Authentic) {
					t.Fatalf("tolerance %d, second %d, %d ahead: %s", tolerance, second, ahead, reason)
				}
				if ahead == 0 && reason == verify.Authentic {
					accepted[tolerance]++
				}
			}
		}
	}
	if accepted[60] != 60 || accepted[30] != 30 || accepted[5] != 5 {
		t.Errorf("accepted in %v seconds", accepted)
	}
	k := &knocking{cfg: Config{Now: func() time.Time { return start }}, minute: schedule.MinuteOf(start) - 1}
	if _, ok := k.previousMinute(); ok {
		t.Error("the last attempt used the previous minute's ports")
	}
	k = &knocking{cfg: Config{Now: func() time.Time { return time.Unix(30, 0) }}}
	if _, ok := k.previousMinute(); ok {
		t.Error("the clock has no previous minute")
	}
}

// placesAt returns the open ports of a server, with their places.
func placesAt(t *testing.T, p Profile, server time.Time, tolerance time.Duration) map[uint16][]schedule.Place {
	t.Helper()
	places := map[uint16][]schedule.Place{}
	for _, m := range schedule.Live(server, tolerance) {
		ports, err := schedule.Ports(p.Generator, p.PortSecret, m, p.Ports)
		if err != nil {
			t.Fatal(err)
		}
		for i, port := range ports {
			places[port] = append(places[port], schedule.Place{Minute: m, Index: int8(i)})
		}
	}
	return places
}
