package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"sallyport/verify/challenge/carrier"
)

const (
	// sourceChallenges is how many challenges an IPv4 address, or a /64, gets in a second.
	// There is no limit of them in sum: no address can be forged, and the Exchanges limit
	// them so that a flood with the ID of one operation keeps out no client of another.
	sourceChallenges = 50
)

// HTTPConfig configures an HTTP. Exchanges is required, and either Site or Unproved.
type HTTPConfig struct {
	// Site answers all requests that draw no challenge. It must not change the
	// request's context or connection.
	Site http.Handler
	// Unproved, if it is not 0, is the status of an empty answer to all these requests,
	// instead of a Site: 400 to 599. A reverse proxy recognises it, and answers itself.
	Unproved  int
	Exchanges Exchanges
	// Tunnels takes the way in; nil: there is none.
	Tunnels    Tunnels
	MaxTunnels int // at a time; 0: DefaultTunnels
	Proxies    Proxies
	Now        func() time.Time // nil: time.Now
}

// HTTP is a handler that takes the messages of exchanges from requests, and hands all
// requests on to a site, except for those that draw a challenge. A stranger gets the
// site's own answer, whether or not there are operations.
type HTTP struct {
	config   HTTPConfig
	receiver receiver
	requests atomic.Uint64
	sent     atomic.Uint64
	paths    [carrier.NumReasons]atomic.Uint64
	forms    [carrier.NumReasons]atomic.Uint64
	tunnels  tunnels
}

// NewHTTP makes an HTTP.
func NewHTTP(c HTTPConfig) (*HTTP, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxTunnels == 0 {
		c.MaxTunnels = DefaultTunnels
	}
	switch {
	case c.MaxTunnels < 0:
		return nil, errors.New("tunnels: expected at least 1")
	case c.Unproved != 0 && (c.Unproved < http.StatusBadRequest || c.Unproved > 599):
		return nil, fmt.Errorf("status of an answer that proves nothing: expected 400 to 599, got %d", c.Unproved)
	case (c.Site == nil) == (c.Unproved == 0):
		return nil, errors.New("expected either a site, or the status of an answer that proves nothing")
	}
	if c.Unproved != 0 {
		c.Site = unproved(c.Unproved)
	}
	if err := c.Proxies.validate(); err != nil {
		return nil, err
	}
	h := &HTTP{config: c}
	h.receiver.init(c.Exchanges, assembliesHTTP)
	h.receiver.shares = newShares(sourceChallenges)
	return h, nil
}

// ServeHTTP takes the message of a request, if it carries one, and answers.
func (h *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.requests.Add(1)
	var m carrier.Message
	if h.read(&m, w, r) {
		if ticket, ok := m.Ticket(); ok && upgrades(r) {
			if !h.openTunnel(w, r, m.Exchange, ticket) {
				h.config.Site.ServeHTTP(w, r)
			}
			return
		}
		var buffer [carrier.MaxChallenge]byte
		if challenge, ok := h.receiver.take(buffer[:0], &m, h.config.Proxies.client(r), h.config.Now()); ok {
			h.sent.Add(1)
			answer(w, r, challenge)
			return
		}
	}
	h.config.Site.ServeHTTP(w, r)
}

// read parses the message of a request, and reports whether it has one. The site can
// still read the whole body.
func (h *HTTP) read(m *carrier.Message, w http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.Method == http.MethodGet && r.ContentLength == 0:
		reason := m.ParsePath(r.RequestURI)
		h.paths[reason].Add(1)
		return reason == carrier.Accepted
	case r.Method == http.MethodPost && r.ContentLength > 0 && r.ContentLength <= int64(carrier.MaxForm):
		if r.Header.Get("Content-Type") != carrier.FormType || r.Header.Get("Expect") != "" {
			return false
		}
		var body [carrier.MaxForm]byte
		control := http.NewResponseController(w)
		control.SetReadDeadline(time.Now().Add(readFormTime)) // not all writers have one
		n, err := io.ReadFull(r.Body, body[:r.ContentLength])
		if err == nil { // otherwise no further read waits
			control.SetReadDeadline(time.Time{})
		}
		r.Body = readBody{bytes.NewReader(body[:n]), err, r.Body}
		if err != nil {
			return false
		}
		reason := m.ParseForm(body[:n])
		h.forms[reason].Add(1)
		return reason == carrier.Accepted
	}
	return false
}

// readBody is a body of which the first bytes have been read.
type readBody struct {
	first *bytes.Reader
	err   error // of reading them, after them
	rest  io.ReadCloser
}

func (b readBody) Read(p []byte) (int, error) {
	if b.first.Len() > 0 {
		return b.first.Read(p)
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.rest.Read(p)
}

func (b readBody) Close() error { return b.rest.Close() }

// answer sends the page of a challenge.
func answer(w http.ResponseWriter, r *http.Request, challenge []byte) {
	page := carrier.AppendPage(make([]byte, 0, carrier.MaxPage), challenge)
	header := w.Header()
	header.Set("Content-Type", carrier.PageType)
	header.Set("Content-Length", strconv.Itoa(len(page)))
	header.Set("Cache-Control", "no-store")
	if r.Header.Get("Origin") != "" {
		header.Set("Access-Control-Allow-Origin", "*")
	}
	w.Write(page) // an error is the client's, which is gone
}

// unproved is a site that leaves the answer to a reverse proxy: an empty one with this
// status.
type unproved int

func (u unproved) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	// Without waiting for the rest of a body: the proxy may answer before it.
	http.NewResponseController(w).EnableFullDuplex() // an error: HTTP/2, which never waits
	w.WriteHeader(int(u))
}

// HTTPStats are totals since the start.
type HTTPStats struct {
	Requests     uint64
	Challenges   uint64   // sent
	Limited      uint64   // not sent, beyond the share of a source
	Paths, Forms []uint64 // GET and POST requests that can carry a message, by carrier.Reason
	Tunnels      TunnelStats
}

// Stats returns the counters. It is safe for concurrent use.
func (h *HTTP) Stats() HTTPStats {
	st := HTTPStats{Requests: h.requests.Load(), Challenges: h.sent.Load(), Limited: h.receiver.refused.Load(), Tunnels: h.tunnels.stats()}
	for i := range carrier.NumReasons {
		st.Paths = append(st.Paths, h.paths[i].Load())
		st.Forms = append(st.Forms, h.forms[i].Load())
	}
	return st
}
