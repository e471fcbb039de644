package carriers

import (
	"crypto/rand"
	"net/netip"
	"time"

	"sallyport/ingest/web"
	"sallyport/sessions/handshakes/carried"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// table holds the exchanges of all listeners, as in the server.
type table struct {
	*carried.Table
	http, dns web.Exchanges
}

func newTable(public netip.Addr, list []*exchange.Operation) (table, error) {
	o, err := exchange.NewOperations(list, challenge.Plan{NoIPv4: true, NoIPv6: true})
	if err != nil {
		return table{}, err
	}
	t, err := carried.New(carried.Config{
		Operations: o, Random: rand.Reader, OnProof: func(carried.Proof) {},
	})
	if err != nil {
		return table{}, err
	}
	t.Turn(time.Now())
	return table{
		Table: t,
		http:  t.At(carrier.ServerOf(carrier.HTTP, host), public, netip.Addr{}),
		dns:   t.At(carrier.ServerOf(carrier.DNS, zone), netip.Addr{}, netip.Addr{}),
	}, nil
}
