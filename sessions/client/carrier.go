package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"

	"sallyport/sessions/client/carriers"
	"sallyport/verify/challenge/carrier"
)

// Carrier is what carries the messages of an exchange.
type Carrier string

// The carriers.
const (
	CarrierAuto    Carrier = ""    // the first that works
	CarrierPackets Carrier = "udp" // empty packets: UDP, or SYNs if the server has transport = "tcp"
	CarrierHTTPS   Carrier = "https"
	CarrierDNS     Carrier = "dns"
)

// Valid reports whether c is one of the carriers.
func (c Carrier) Valid() bool {
	switch c {
	case CarrierAuto, CarrierPackets, CarrierHTTPS, CarrierDNS:
		return true
	}
	return false
}

// Tunnel connects to a service through the web server that has carried an exchange.
type Tunnel interface {
	// DialService connects to the service that the exchange x has opened, for which the
	// server holds a ticket. Way is what carried the exchange: it is open until the
	// connection is closed, and then closed by the Stream.
	DialService(ctx context.Context, way *carriers.HTTP, x carrier.Exchange, ticket [16]byte) (Stream, error)
}

// Stream is a connection to a service that is not one of TCP.
type Stream interface {
	net.Conn
	CloseWrite() error
}

// checkCarriers returns an error if a carrier other than packets is not valid.
func (c Challenge) checkCarriers() error {
	if c.Operation == nil {
		return errors.New("the operation is missing")
	}
	if c.HTTPS != "" {
		if _, err := carriers.ParseURL(c.HTTPS); err != nil {
			return err
		}
	}
	if c.DNS != "" {
		if _, err := carriers.ParseZone(c.DNS); err != nil {
			return err
		}
	}
	if len(c.DNSServers) > carriers.MaxServers || c.DNS == "" && len(c.DNSServers) > 0 {
		return fmt.Errorf("expected at most %d servers of a zone, got %d of the zone %q", carriers.MaxServers, len(c.DNSServers), c.DNS)
	}
	for _, s := range c.DNSServers {
		if _, _, err := carriers.ParseServer(s); err != nil {
			return err
		}
	}
	if c.Tunnel && c.HTTPS == "" {
		return errors.New("expected a URL of the web server, which is the tunnel")
	}
	if !c.HasPackets() && (c.AnswerPort != 0 || c.Response.DataBits != 0) {
		return errors.New("expected an encoding of requests")
	}
	return nil
}

// hasCarrier reports whether there is a carrier other than packets.
func (c Challenge) hasCarrier() bool { return c.HTTPS != "" || c.DNS != "" }

// HasPackets reports whether the server takes exchanges as empty packets.
func (c Challenge) HasPackets() bool { return c.Request.DataBits != 0 }

// CarrierError is the error of a carrier that the profile does not have, or that cannot
// open what the operation opens. Nothing was sent.
type CarrierError struct {
	Carrier Carrier
	fault   string
	hint    string
}

func (e *CarrierError) Error() string { return fmt.Sprintf("by %s: %s", e.Carrier, e.fault) }

// Hint returns what to do.
func (e *CarrierError) Hint() string { return e.hint }

// carriers returns the carrier of the configuration, or all that the profile has and that
// suit it, the usual one first.
func (cfg *ExchangeConfig) carriers() (all []Carrier, err error) {
	if cfg.Carrier != CarrierAuto {
		return []Carrier{cfg.Carrier}, cfg.suits(cfg.Carrier)
	}
	var first error
	for _, by := range []Carrier{CarrierPackets, CarrierHTTPS, CarrierDNS} {
		if !cfg.has(by) {
			continue
		}
		if err := cfg.suits(by); err != nil {
			first = cmp.Or(first, err)
			continue
		}
		all = append(all, by)
	}
	if len(all) == 0 {
		return nil, first // Check has found a carrier
	}
	return all, nil
}

// CheckCarrier returns the CarrierError of Exchange, if there is one, with Keep or without.
func (cfg ExchangeConfig) CheckCarrier(keep bool) error {
	cfg.Keep = keep
	_, err := cfg.carriers()
	return err
}

// has reports whether the profile has a carrier.
func (cfg *ExchangeConfig) has(by Carrier) bool {
	switch by {
	case CarrierPackets:
		return cfg.Challenge.HasPackets()
	case CarrierHTTPS:
		return cfg.Challenge.HTTPS != ""
	case CarrierDNS:
		return cfg.Challenge.DNS != ""
	}
	return false
}

// suits returns why a carrier cannot be used.
func (cfg *ExchangeConfig) suits(by Carrier) error {
	c := cfg.Challenge
	const ask = "omit --carrier, or ask the server's administrator for a new profile"
	switch {
	case !by.Valid():
		return fmt.Errorf("expected a carrier, got %q", by)
	case !cfg.has(by):
		return &CarrierError{by, "the profile does not have this carrier", ask}
	case by == CarrierDNS && c.Bind != BindConnection && !c.Operation.RandomPort():
		return &CarrierError{by, "a resolver hides this computer's address from the server, so that it can open for a connection only",
			"use --carrier https, or ask the administrator for bind = \"connection\" or a random port: only these can be opened over DNS"}
	case by != CarrierPackets && c.Bind == BindISN && cfg.Keep:
		return &CarrierError{by, "the service requires a sequence number of the exchange, which only packets can have", "use --carrier udp"}
	}
	return nil
}

// tunnels reports whether the connection to the service goes through the web server.
func (cfg *ExchangeConfig) tunnels(by Carrier) bool {
	c := cfg.Challenge
	return by == CarrierHTTPS && c.Tunnel && cfg.Tunnel != nil && (cfg.Keep || cfg.Probe) && otherService(cfg.Server, c.Service, cfg.Service) == ""
}
