package carriers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"sallyport/bench/clock"
	"sallyport/ingest/web"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// The ports of the listeners.
const (
	httpPort = 80
	dnsPort  = 53
)

// line is a line of the target's output: a proof, or the counts.
type line struct {
	Exchange carrier.Exchange `json:",omitempty"`
	At       int64            `json:",omitempty"` // of a proof, on the monotonic clock, ns
	Counts   *counts          `json:",omitempty"`
}

// counts are totals since the start.
type counts struct{ Requests, Queries, Refused uint64 }

// page is the site's page.
var page = bytes.Repeat([]byte("All is well. "), 160)

// RunTarget runs the listeners at an address of this host, as the server does. It writes
// a line for each proof, and one with the counts for each line of in. It returns when in
// ends.
func RunTarget(address string, in io.Reader, out io.Writer) error {
	at, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	write := func(r line) error {
		mu.Lock()
		defer mu.Unlock()
		return json.NewEncoder(out).Encode(r)
	}
	o, err := exchange.NewOperation(operationID, secret, exchange.NATAware, false)
	if err != nil {
		return err
	}
	table, err := newTable(at, []*exchange.Operation{o}, func(x carrier.Exchange) { write(line{Exchange: x, At: clock.Monotonic()}) })
	if err != nil {
		return err
	}
	h, err := web.NewHTTP(web.HTTPConfig{Site: http.HandlerFunc(site), Exchanges: table.http})
	if err != nil {
		return err
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: at.AsSlice(), Port: httpPort})
	if err != nil {
		return err
	}
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: at.AsSlice(), Port: dnsPort})
	if err != nil {
		return err
	}
	d, err := web.NewDNS(web.DNSConfig{
		Zone: web.Zone{Name: zone, Servers: []string{"ns." + strings.TrimPrefix(zone, "k.")}}, Exchanges: table.dns, Sockets: []*net.UDPConn{u},
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { d.Run(ctx) })
	tasks.Go(func() { web.Server{Handler: h}.Run(ctx, l) })
	defer tasks.Wait()
	defer stop()
	tasks.Go(func() {
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-second.C:
				table.Sweep(now)
			}
		}
	})
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		c := counts{Requests: h.Stats().Requests, Refused: h.Stats().Limited + table.refused()}
		outcomes := d.Stats().Outcomes
		for _, n := range outcomes {
			c.Queries += n
		}
		if err := write(line{Counts: &c}); err != nil {
			return err
		}
	}
	return lines.Err()
}

// site is a page, and nothing else.
func site(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", fmt.Sprint(len(page)))
	w.Write(page)
}
