package daemon

import (
	"net/netip"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/ingest/capture"
	"sallyport/sessions/fleet/relay"
	"sallyport/sessions/handshakes"
)

// openRelay opens the relay to the other gateways, if the configuration has one.
func (c *challenger) openRelay(cfg *config.Config, env Env) (err error) {
	if cfg.Fleet == nil || cfg.Fleet.Relay == nil {
		return nil
	}
	r := cfg.Fleet.Relay
	c.relay, err = relay.Open(relay.Config{
		Name: cfg.Fleet.Name, Gateways: r.Gateways, Key: r.Key, Rate: r.Rate, Sink: c.takeRelayed, Now: env.Clock.Boot, Log: env.Log,
	})
	return err
}

// takeRelayed takes the packets that another gateway has received, with the same table and
// limits as this one's.
func (c *challenger) takeRelayed(packets []relay.Packet) {
	now := c.now()
	c.tableMu.Lock()
	defer c.tableMu.Unlock()
	c.table.Turn(c.wall())
	for _, p := range packets {
		if p.TCP != (c.answers != nil) {
			continue // that gateway is configured for another transport
		}
		to := netip.AddrPortFrom(netip.Addr{}, p.Port)
		c.table.Take(handshakes.Arrival{Source: p.Source, Destination: to}, c.arrival(now, min(p.Age, mostLate)))
	}
}

// answerEarlier sends a challenge for an earlier packet than the last one of its request,
// which another gateway has received.
func (c *challenger) answerEarlier(to handshakes.Arrival, payload []byte) error {
	if c.answers != nil {
		return c.answers.put(to.Source, payload)
	}
	return c.capture.Answer(capture.Packet{Source: to.Source, Destination: to.Destination, Number: to.Number}, payload)
}

// reach returns what this gateway knows of the others. It may be called on nil.
func (c *challenger) reach() []relay.Reach {
	if c == nil || c.relay == nil {
		return nil
	}
	return c.relay.Reach()
}

func relayCounters(s relay.Stats) counters {
	return counters{
		{"relay_sent", s.Relayed}, {"relay_received", s.Received}, {"relay_limited", s.Limited},
		{"relay_dropped", s.Dropped}, {"relay_refused", s.Refused}, {"relay_replayed", s.Replayed},
	}
}
