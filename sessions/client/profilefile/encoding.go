package profilefile

import (
	"strings"

	"sallyport/verify/challenge"
)

// Encoding is the table, in profiles and configurations, of how a message is
// encoded in ports.
type Encoding struct {
	Scheme       string `toml:"scheme" json:"scheme" expect:"\"sequence\", \"differences\", \"ranges\" or \"delays\""`
	Base         int    `toml:"base" json:"base" expect:"the first port, a whole number from 1 to 65535"`
	DataBits     int    `toml:"data_bits" json:"data_bits" expect:"a whole number from 1 to 16"`
	SequenceBits int    `toml:"sequence_bits,omitempty" json:"sequence_bits,omitempty" expect:"a whole number from 1 to 15, for the scheme \"sequence\" only"`
	Restart      int    `toml:"restart,omitempty" json:"restart,omitempty" expect:"after how many packets the numbers restart, a whole number from 3"`
	Delay        string `toml:"delay,omitempty" json:"delay,omitempty" expect:"a duration from \"1ms\" to \"1m\", for the scheme \"delays\" only"`
}

// Parse checks a table. at is the table's key followed by a dot. base is the
// default of the key base; 0: the table must have one. Whether an encoding fits
// its messages depends on their sizes: challenge.Plan checks that.
func (raw Encoding) Parse(f Source, at string, base uint16) (e challenge.Encoding, err error) {
	if err := e.Scheme.UnmarshalText([]byte(raw.Scheme)); err != nil {
		return e, f.Errorf(at+"scheme", "got %q", raw.Scheme)
	}
	if e.Base = base; f.Has(at+"base") || base == 0 {
		if raw.Base < 1 || raw.Base > 65535 {
			return e, f.Errorf(at+"base", "got %d", raw.Base)
		}
		e.Base = uint16(raw.Base)
	}
	if e.Delay, err = f.Duration(at+"delay", raw.Delay, 0); err != nil {
		return e, err
	}
	e.DataBits, e.SequenceBits, e.Restart = raw.DataBits, raw.SequenceBits, raw.Restart
	if raw.Restart < 0 || f.Has(at+"restart") && raw.Restart < challenge.MinRestart {
		return e, f.Errorf(at+"restart", "got %d", raw.Restart)
	}
	// Every message has at least one byte.
	if _, err := e.Codec(1); err != nil {
		return e, f.Errorf(strings.TrimSuffix(at, "."), "%v", err)
	}
	return e, nil
}

// encodingOf is the reverse of Parse.
func encodingOf(e challenge.Encoding) Encoding {
	if e == (challenge.Encoding{}) {
		return Encoding{} // no packets
	}
	raw := Encoding{
		Scheme: e.Scheme.String(), Base: int(e.Base), DataBits: e.DataBits, SequenceBits: e.SequenceBits,
		Restart: e.Restart,
	}
	if e.Delay > 0 {
		raw.Delay = e.Delay.String()
	}
	return raw
}
