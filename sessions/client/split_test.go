package client

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/verify/wire"
)

// messageCounter is a Signer that counts messages.
type messageCounter struct {
	SecretSigner
	signed int
}

func (s *messageCounter) Sign(ctx context.Context, messages ...[]byte) ([]MAC, error) {
	s.signed += len(messages)
	return s.SecretSigner.Sign(ctx, messages...)
}

// TestSplitSequence: knock i of a split sequence is that of gateway i mod k, signed with its
// key, whichever gateway has the service; a device that holds the secret signs only for the
// keys. The sequences that close are whole.
func TestSplitSequence(t *testing.T) {
	t.Parallel()
	device := &messageCounter{SecretSigner: []byte("the secret")}
	p := Profile{
		PortSecret: "the port secret", Ports: 5, Identifier: wire.Identifier([]byte("com1")), Signer: device, Split: true,
		Gateways: []Gateway{{Name: "gw1", Server: "192.0.2.1", FirstNonce: 3}, {Name: "gw2", Server: "192.0.2.2", KnockOnly: true, FirstNonce: 9}, {Name: "gw3", Server: "192.0.2.3"}},
	}
	all, err := p.AtGateways(t.Context())
	if err != nil || len(all) != 2 || device.signed != 3 {
		t.Fatal(all, err, device.signed)
	}
	if names := slices.Collect(func(yield func(string) bool) {
		for _, g := range p.Carriers() {
			yield(g.Name)
		}
	}); !slices.Equal(names, []string{"gw1", "gw3"}) {
		t.Errorf("carriers %v", names)
	}
	now := time.Unix(1_700_000_000, 0)
	for i, one := range all {
		if one.Server != []string{"192.0.2.1", "192.0.2.3"}[i] || one.FirstNonce != 9 {
			t.Errorf("profile %d: %s, from nonce %d", i, one.Server, one.FirstNonce)
		}
		for closes, want := range map[bool][]string{false: {"gw1", "gw2", "gw3", "gw1", "gw2"}, true: slices.Repeat([]string{[]string{"gw1", "gw3"}[i]}, 5)} {
			packets, _, err := signSequence(t.Context(), one, now, 20, signing{closes: closes})
			if err != nil {
				t.Fatal(err)
			}
			for j, packet := range packets {
				k, err := wire.Parse(packet.Datagram)
				if err != nil {
					t.Fatal(err)
				}
				key, err := wire.GatewayKey([]byte("the secret"), want[j])
				if err != nil {
					t.Fatal(err)
				}
				signed := k.Message()
				message := signed[:]
				if closes {
					closing := wire.ClosingMessage(signed)
					message = closing[:]
				}
				macs, _ := SecretSigner(key).Sign(t.Context(), message)
				if macs[0] != k.MAC || k.Nonce != 20+uint32(j) {
					t.Errorf("profile %d, closes %t: knock %d is not one for %s", i, closes, j, want[j])
				}
			}
		}
	}
	if device.signed != 3 {
		t.Errorf("the device has signed %d messages", device.signed)
	}
	numbered, isn, err := signSequence(t.Context(), all[0], now, 20, signing{numbered: true})
	message := wire.ISNMessage(p.Identifier, 20)
	macs, _ := device.SecretSigner.Sign(t.Context(), message[:])
	if err != nil || len(numbered) != 5 || isn != wire.ISNOf(macs[0][:]) {
		t.Errorf("the number is not that of the secret: %v", err)
	}
}

// TestSplitRefuses: a profile splits its sequences over several gateways, of which one has the
// service.
func TestSplitRefuses(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]Profile{
		"at least two":       {Split: true, Gateways: []Gateway{{Name: "gw1", Server: "192.0.2.1"}}},
		"none has":           {Split: true, Gateways: []Gateway{{Name: "gw1", Server: "192.0.2.1", KnockOnly: true}, {Name: "gw2", Server: "192.0.2.2", KnockOnly: true}}},
		"sequences are not ": {Gateways: []Gateway{{Name: "gw1", Server: "192.0.2.1", KnockOnly: true}}},
	} {
		p.PortSecret, p.Secret = "the port secret", []byte("the secret")
		if _, err := p.AtGateways(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
