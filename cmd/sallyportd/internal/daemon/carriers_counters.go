package daemon

import (
	ingestweb "sallyport/ingest/web"
	carriedtable "sallyport/sessions/handshakes/carried"
	"sallyport/verify/challenge/carrier"
)

// counters counts the requests and queries of carriers, and the exchanges in them. The
// list has the same counters at all times. It may be called on nil.
func (c *carriers) counters() (t counters) {
	if c == nil {
		return nil
	}
	t = carriedCounters(c.table.Stats())
	if len(c.sites) > 0 {
		t = append(t, siteCounters(c.sites)...)
	}
	if c.zone != nil {
		var st ingestweb.DNSStats
		if d := c.zone.now.Load(); d != nil {
			st = d.Stats()
		}
		t = append(t, dnsCounters(st)...)
	}
	return t
}

// carriedCounters counts the messages and exchanges of all carriers.
func carriedCounters(outcomes [carriedtable.NumOutcomes]uint64) (t counters) {
	for o, n := range outcomes {
		t = append(t, counter{"carried_" + carriedtable.Outcome(o).String(), n})
	}
	return t
}

// siteCounters counts the requests of all sites.
func siteCounters(sites []*site) counters {
	var requests, parts, other, broken, challenges, limited uint64
	var tunnels ingestweb.TunnelStats
	for _, s := range sites {
		st := s.http.Stats()
		requests, challenges, limited = requests+st.Requests, challenges+st.Challenges, limited+st.Limited
		tunnels.Accepted += st.Tunnels.Accepted
		tunnels.Full += st.Tunnels.Full
		tunnels.Rejected += st.Tunnels.Rejected
		for _, of := range [][]uint64{st.Paths, st.Forms} {
			a, o, b := sortParts(of)
			parts, other, broken = parts+a, other+o, broken+b
		}
	}
	return counters{
		{"http_requests", requests}, {"http_parts", parts}, {"http_other", other}, {"http_broken", broken}, {"http_challenges", challenges}, {"http_limited", limited},
		{"http_tunnels", tunnels.Accepted}, {"http_tunnels_full", tunnels.Full}, {"http_tunnels_rejected", tunnels.Rejected},
	}
}

func dnsCounters(st ingestweb.DNSStats) (t counters) {
	for o, n := range st.Outcomes {
		t = append(t, counter{"dns_" + ingestweb.Outcome(o).String(), n})
	}
	parts, other, broken := sortParts(st.Parts)
	return append(t, counter{"dns_parts", parts}, counter{"dns_other", other}, counter{"dns_broken", broken}, counter{"dns_replaced", st.Replaced})
}

// sortParts sums up counts by carrier.Reason: parts of messages, input that does not look
// like one, and input that does, and is none.
func sortParts(of []uint64) (parts, other, broken uint64) {
	for reason, n := range of {
		switch carrier.Reason(reason) {
		case carrier.Accepted:
			parts += n
		case carrier.Form:
			other += n
		default:
			broken += n
		}
	}
	return parts, other, broken
}
