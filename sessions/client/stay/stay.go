package stay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/sessions/client"
	"sallyport/sessions/clock"
)

// Config is the configuration of Run. One of Sequence, Exchange and Gateways is required.
type Config struct {
	// Sequence and Exchange are how to knock. Run does not use their fields Keep and
	// CheckBefore, and no knock waits for the next minute: a later one uses its ports.
	Sequence *client.Config
	Exchange *client.ExchangeConfig
	// Gateways are those that Run tries, if there are several: Sequences or Exchanges has
	// one configuration for each name.
	Gateways  client.Gateways
	Sequences []client.Config
	Exchanges []client.ExchangeConfig

	// OpenFor is how long the server keeps the service open after a knock. 0: as the
	// profile or the challenge has it, or else it is not known.
	OpenFor time.Duration
	// Every is the time between two renewals, at least MinEvery. 0: twice in OpenFor, and
	// at least every two minutes; if that is not known, twice in DefaultOpenFor.
	Every time.Duration
	// Since is when the caller has begun a knock that opened the service, by Clock.Boot.
	// Zero: Run begins with a knock.
	Since time.Time

	// Changed reports further changes of the network, if the program knows of them, as an
	// app of a phone does. It may be nil. Run watches the network itself as well as the
	// system lets it.
	Changed <-chan struct{}

	Clock  clock.Clock // the zero value: clock.System
	Report func(Event) // must not block; may be nil
}

// openFor returns how long a lease lasts; 0: that is not known.
func (c Config) openFor() time.Duration {
	if len(c.Exchanges) > 0 {
		return cmp.Or(c.OpenFor, c.Exchanges[0].Challenge.OpenFor)
	}
	return cmp.Or(c.OpenFor, c.Sequences[0].Profile.OpenFor)
}

// list makes the configuration of one server that of one gateway.
func (c *Config) list() {
	if c.Sequence != nil {
		c.Sequences, c.Sequence = append(slices.Clone(c.Sequences), *c.Sequence), nil
	}
	if c.Exchange != nil {
		c.Exchanges, c.Exchange = append(slices.Clone(c.Exchanges), *c.Exchange), nil
	}
	if len(c.Gateways.Names) == 0 {
		c.Gateways.Names = []string{""}
	}
}

// validate returns an error if the configuration is not complete, and sets defaults.
func (c *Config) validate() error {
	c.list()
	switch n := len(c.Gateways.Names); {
	case len(c.Sequences)+len(c.Exchanges) != n || len(c.Sequences) != n && len(c.Exchanges) != n:
		return errors.New("expected a configuration of one protocol for each gateway")
	case len(c.Exchanges) > 0 && c.Exchanges[0].Challenge.Operation != nil && c.Exchanges[0].Challenge.Operation.RandomPort():
		return &SingleUseError{}
	case c.Every != 0 && c.Every < MinEvery:
		return fmt.Errorf("expected a time between knocks from %s, got %s", MinEvery, c.Every)
	case c.OpenFor < 0:
		return fmt.Errorf("expected a time for which the service is open, got %s", c.OpenFor)
	}
	if c.Clock.Boot == nil {
		c.Clock = clock.System()
	}
	if c.Report == nil {
		c.Report = func(Event) {}
	}
	return nil
}

// Run keeps a service open until ctx ends, and then returns the error of ctx. It returns
// another error if no later knock can succeed: of the configuration, of a profile that
// does not allow it, or of the nonce file. All other failures it reports, and goes on.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	return newKeeper(cfg).run(ctx, watchNetwork)
}
