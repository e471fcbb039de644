package hostile

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"

	"sallyport/bench/scenario"
	"sallyport/verify/wire"
)

// class makes datagrams of one kind.
type class struct {
	name string
	make func(scenario.Aim, int) ([]scenario.Shot, error)
}

// kinds are those of the flood benchmark that are sent here: the others differ from these
// by their sources only, or go to closed ports, where the kernel drops them.
var kinds = []string{
	"junk", "wrong-length", "bad-magic", "wrong-sequence", "stale", "unknown", "bad-mac", "one-client", "sniffed", "replay",
}

// classes are all classes.
func classes() (all []class) {
	for _, name := range kinds {
		if k, ok := scenario.ByName(name); ok {
			all = append(all, class{name, k.Shots})
		}
	}
	for _, c := range []struct {
		name   string
		change func(aim scenario.Aim, shot *scenario.Shot)
	}{
		{"wrong maximum", func(_ scenario.Aim, s *scenario.Shot) { s.Payload[wire.OffsetMaximum]++ }},
		{"from the future", func(a scenario.Aim, s *scenario.Shot) {
			binary.BigEndian.PutUint32(s.Payload[wire.OffsetTimestamp:], uint32(a.Now.Unix())+300)
		}},
		{"nonce below its sequence ID", func(_ scenario.Aim, s *scenario.Shot) {
			clear(s.Payload[wire.OffsetNonce:][:4])
			s.Payload[wire.OffsetSequence] = ports - 1
		}},
		{"another nonce", func(a scenario.Aim, s *scenario.Shot) {
			binary.BigEndian.PutUint32(s.Payload[wire.OffsetNonce:], a.Random.Uint32())
		}},
		{"one changed bit", func(a scenario.Aim, s *scenario.Shot) {
			bit := a.Random.IntN(8 * len(s.Payload))
			s.Payload[bit/8] ^= 1 << (bit % 8)
		}},
		{"port of another knock", func(a scenario.Aim, s *scenario.Shot) {
			s.Port = a.Replays[a.Random.IntN(len(a.Replays))].Port
		}},
	} {
		all = append(all, class{c.name, func(a scenario.Aim, n int) (shots []scenario.Shot, err error) {
			for range n {
				shot := a.Replays[rand.IntN(len(a.Replays))]
				shot.Payload = bytes.Clone(shot.Payload)
				c.change(a, &shot)
				shots = append(shots, shot)
			}
			return shots, nil
		}})
	}
	return all
}
